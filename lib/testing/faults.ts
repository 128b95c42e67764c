/** Injects faults into the requests that match: delays, holds, broken connections, wrong answers. */
import {
  matches,
  type ReceivedRequest,
  type RequestMatch,
} from './requests.js';

/** Before the request is applied to the storage, or after (then only the answer is affected). */
export type FaultPhase = 'before' | 'after';

/** A fault. If several match the same request, they take effect in the order of injection. */
export type Fault =
  /** The request is applied, or its answer sent, this many milliseconds late; even if the client is gone by then. */
  | { kind: 'delay'; before?: number; after?: number }
  /** The request waits until {@link InjectedFault.release}; it is applied then, even if the client is gone. */
  | { kind: 'hold'; when: FaultPhase }
  /** The connection breaks: unapplied, or applied but unanswered, or with half of the answer sent. */
  | { kind: 'drop'; when: FaultPhase | 'mid-answer' }
  /** The answer is an error status with a proper `Status` object. */
  | {
      kind: 'status';
      code: number;
      /** Seconds, sent as the Retry-After header. */
      retryAfter?: number;
      /** Default: the usual reason for the code. */
      reason?: string;
      message?: string;
      /** Default `before`: not applied. */
      when?: FaultPhase;
    }
  /** The answer has this text as its body. */
  | {
      kind: 'answer';
      body: string;
      /** Default 200. */
      code?: number;
      /** Default `application/json`, whatever the body. */
      contentType?: string;
      /** Default `before`: not applied. */
      when?: FaultPhase;
    }
  /** Watches stay open but lose every event, even their end. Each lost event is one hit. */
  | { kind: 'silence' }
  /** Events of watches, and their end, arrive this many milliseconds late. Each is one hit. */
  | { kind: 'lag'; delay: number };

/** The requests that a fault affects; by default all, until the fault is removed. */
export interface FaultMatch extends RequestMatch {
  /** Number of matching requests that pass first. Default 0. */
  skip?: number;
  /** Number of requests that are affected. Default: no limit. */
  times?: number;
}

/** An injected fault. */
export interface InjectedFault extends Disposable {
  /** How often the fault took effect, on a request or on an event of a watch. */
  readonly hits: number;
  /** Resolves once the fault has taken effect `count` times (default 1), with the latest request. */
  hit(count?: number): Promise<ReceivedRequest>;
  /** Lets the requests continue that a `hold` holds now; later ones are still held. */
  release(): void;
  /** Removes the fault, and releases the requests it holds. */
  remove(): void;
}

/** How a fault cuts the handling of a request short. */
export type FaultOutcome = Extract<
  Fault,
  { kind: 'drop' | 'status' | 'answer' }
>;

type WatchFault = Extract<Fault, { kind: 'silence' | 'lag' }>;
export type RequestFault = Exclude<Fault, WatchFault>;

const isWatchFault = (fault: Fault): fault is WatchFault =>
  fault.kind === 'silence' || fault.kind === 'lag';

class ActiveFault<F extends Fault = Fault> implements InjectedFault {
  hits = 0;
  private skipped = 0;
  private taken = 0;
  private latest: ReceivedRequest | undefined;
  private readonly held = new Set<() => void>();
  private readonly awaiting = new Set<() => void>();

  constructor(
    readonly fault: F,
    private readonly match: FaultMatch,
    private readonly detach: () => void,
  ) {}

  /** Whether the fault applies to this request. */
  takes(request: ReceivedRequest): boolean {
    const { skip = 0, times = Infinity } = this.match;
    if (this.taken >= times || !matches(this.match, request)) {
      return false;
    }
    if (this.skipped < skip) {
      this.skipped += 1;
      return false;
    }
    this.taken += 1;
    return true;
  }

  /** Counts a hit. */
  strike(request: ReceivedRequest): void {
    this.hits += 1;
    this.latest = request;
    for (const check of this.awaiting) {
      check();
    }
  }

  hit(count = 1): Promise<ReceivedRequest> {
    return new Promise((resolve) => {
      const check = () => {
        if (this.hits < count) {
          return;
        }
        this.awaiting.delete(check);
        resolve(this.latest!);
      };
      this.awaiting.add(check);
      check();
    });
  }

  hold(): Promise<void> {
    return new Promise((resolve) => this.held.add(resolve));
  }

  release(): void {
    for (const letGo of this.held) {
      letGo();
    }
    this.held.clear();
  }

  remove(): void {
    this.detach();
    this.release();
  }

  [Symbol.dispose](): void {
    this.remove();
  }
}

/** The faults that apply to a request, chosen when it arrived. */
export class MetFaults {
  constructor(
    private readonly request: ReceivedRequest,
    private readonly met: readonly ActiveFault<RequestFault>[],
  ) {}

  /** Applies the faults of one phase, including delays. @returns how the request is cut short, if it is. */
  async pass(phase: FaultPhase): Promise<FaultOutcome | undefined> {
    for (const active of this.met) {
      const { fault } = active;
      if (phaseOf(fault, phase) !== phase) {
        continue;
      }
      active.strike(this.request);
      switch (fault.kind) {
        case 'delay': {
          const ms = fault[phase];
          // oxlint-disable-next-line no-await-in-loop -- faults take effect one after the other
          await new Promise((resolve) => setTimeout(resolve, ms));
          break;
        }
        case 'hold':
          // oxlint-disable-next-line no-await-in-loop -- faults take effect one after the other
          await active.hold();
          break;
        default:
          return fault;
      }
    }
    return undefined;
  }
}

/** The phase in which a fault takes effect; a delay may do so in both. */
function phaseOf(
  fault: RequestFault,
  phase: FaultPhase,
): FaultPhase | undefined {
  if (fault.kind === 'delay') {
    return (fault[phase] ?? 0) > 0 ? phase : undefined;
  }
  const { when = 'before' } = fault;
  return when === 'mid-answer' ? 'after' : when;
}

/**
 * The faults of a server.
 *
 * @example
 * // One write of the Lease `nightly` is applied, but its answer is lost.
 * server.faults.inject(
 *   { kind: 'drop', when: 'after' },
 *   { verb: 'update', name: 'nightly', times: 1 },
 * );
 */
export class Faults {
  private readonly onRequests = new Set<ActiveFault<RequestFault>>();
  private readonly onWatches = new Set<ActiveFault<WatchFault>>();

  /** Injects a fault into the requests that match; by default into all, until the fault is removed. */
  inject(fault: Fault, match: FaultMatch = {}): InjectedFault {
    return isWatchFault(fault)
      ? activate(this.onWatches, fault, match)
      : activate(this.onRequests, fault, match);
  }

  /** Removes all faults. */
  clear(): void {
    for (const active of this.onRequests) {
      active.remove();
    }
    for (const active of this.onWatches) {
      active.remove();
    }
  }

  /** Called by the server: the faults for a request; undefined if there are none. */
  meet(request: ReceivedRequest): MetFaults | undefined {
    if (this.onRequests.size === 0) {
      return undefined;
    }
    const met = [...this.onRequests].filter((active) => active.takes(request));
    return met.length > 0 ? new MetFaults(request, met) : undefined;
  }

  /** Called by the server for an event of a watch. @returns the event's delay in milliseconds, or `lost`. */
  meetEvent(watch: ReceivedRequest): number | 'lost' {
    let delay = 0;
    for (const active of this.onWatches) {
      if (!active.takes(watch)) {
        continue;
      }
      active.strike(watch);
      if (active.fault.kind === 'silence') {
        return 'lost';
      }
      delay += active.fault.delay;
    }
    return delay;
  }
}

function activate<F extends Fault>(
  among: Set<ActiveFault<F>>,
  fault: F,
  match: FaultMatch,
): InjectedFault {
  const active = new ActiveFault(fault, match, () => among.delete(active));
  among.add(active);
  return active;
}
