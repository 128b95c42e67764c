/** Switches that make the server misbehave on purpose, each for the requests it is meant for. */
import {
  matches,
  type ReceivedRequest,
  type RequestMatch,
} from './requests.js';

/** Before the request is applied to what is stored, or after it was (the answer is affected only). */
export type FaultPhase = 'before' | 'after';

/** What goes wrong. Of several that meet the same request, each takes effect in the order of injection. */
export type Fault =
  /** The request is applied, or its answer sent, so many milliseconds late; even when the client is gone by then. */
  | { kind: 'delay'; before?: number; after?: number }
  /** The request waits until {@link InjectedFault.release}; it is applied then, even when the client is gone. */
  | { kind: 'hold'; when: FaultPhase }
  /** The connection breaks: unapplied, or applied but unanswered, or with half of the answer sent. */
  | { kind: 'drop'; when: FaultPhase | 'mid-answer' }
  /** Another status is answered, with a proper `Status` object. */
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
  /** This text is answered in place of what belongs there. */
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
  /** Watches stay open and nothing arrives, not even their end: events are lost. Each is one hit. */
  | { kind: 'silence' }
  /** Events of watches, and their end, arrive so many milliseconds late. Each is one hit. */
  | { kind: 'lag'; delay: number };

/** Which requests a fault meets; by default all, until it is removed. */
export interface FaultMatch extends RequestMatch {
  /** Lets this many requests that fit pass first. Default 0. */
  skip?: number;
  /** Meets this many, then no more. Default: no limit. */
  times?: number;
}

/** A fault that was switched on. */
export interface InjectedFault extends Disposable {
  /** How often it took effect: on a request, or on an event of a watch. */
  readonly hits: number;
  /** Resolves once it has taken effect `count` times (default 1), with the latest request. */
  hit(count?: number): Promise<ReceivedRequest>;
  /** Lets those go on that a `hold` holds now; later ones are still held. */
  release(): void;
  /** Switches it off, and lets go what it holds. */
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

  /** Whether it is meant for this request. */
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

  /** Called when it takes effect. */
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

/** The faults that are meant for a request, chosen when it arrived. */
export class MetFaults {
  constructor(
    private readonly request: ReceivedRequest,
    private readonly met: readonly ActiveFault<RequestFault>[],
  ) {}

  /** Lives through one phase: waits what is to be waited. @returns how the request is cut short, if it is. */
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

/** When a fault strikes; a delay may do so in both phases. */
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
 * // The write lands, its answer does not: once, for the Lease `nightly`.
 * server.faults.inject(
 *   { kind: 'drop', when: 'after' },
 *   { verb: 'update', name: 'nightly', times: 1 },
 * );
 */
export class Faults {
  private readonly onRequests = new Set<ActiveFault<RequestFault>>();
  private readonly onWatches = new Set<ActiveFault<WatchFault>>();

  /** Switches a fault on for the requests that fit `match`; by default for all, until it is removed. */
  inject(fault: Fault, match: FaultMatch = {}): InjectedFault {
    return isWatchFault(fault)
      ? activate(this.onWatches, fault, match)
      : activate(this.onRequests, fault, match);
  }

  /** Switches all faults off. */
  clear(): void {
    for (const active of this.onRequests) {
      active.remove();
    }
    for (const active of this.onWatches) {
      active.remove();
    }
  }

  /** Called by the server: the faults that a request meets, undefined when there is none. */
  meet(request: ReceivedRequest): MetFaults | undefined {
    if (this.onRequests.size === 0) {
      return undefined;
    }
    const met = [...this.onRequests].filter((active) => active.takes(request));
    return met.length > 0 ? new MetFaults(request, met) : undefined;
  }

  /** Called by the server: what happens to an event of a watch. @returns its delay in milliseconds, or `lost`. */
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
