/**
 * Acquires a semaphore, which is made of Leases that are ordinary locks: one slot for each permit, and a line. Who
 * holds a slot holds the semaphore, so that every rule of a lock is one of the semaphore, and a crash costs one slot
 * for one lease.
 *
 * A call that waits does so in these steps:
 *
 * 1. Take a slot that this process has known to be free for a while, unless it sees that calls wait in line.
 * 2. Acquire the line, whose places are those of a lock (R11): one call at a time, in all processes, looks for a slot.
 * 3. Try each slot that may be free. If all are held, watch them, and try what is released or expires.
 * 4. Release the line to the next call.
 *
 * So the calls get their slots in the order in which they came, whichever slot becomes free, no call ever has two, and
 * no slot is contended. The line is no part of the promise: if it is lost, two calls may look for slots at once.
 *
 * A call that does not wait tries each slot, and looks for dead holders under `skip`, as it does for a lock.
 */
import type { ResolvedLockOptions } from '../../k8s-lock.options.js';
import {
  LockBackendError,
  LockNotAcquiredError,
  type LockReference,
} from '../../lock.errors.js';
import type { LockEvent } from '../../lock.events.js';
import { anyOf, waitUntil } from '../abort-signals.js';
import type { EngineContext } from '../engine-context.js';
import type { LockHandle } from '../hold/lock-handle.js';
import { lineLeaseName, slotLeaseName } from '../lease-name.js';
import type { LocalLease } from '../lease/local-lease.js';
import { backoff, isFinal, pause, randomized } from '../retry.js';
import { noAnswer } from './acquire-call.js';
import type { AcquireMode, LockCall } from './wait-policy.js';

/** How long a released slot is left to the call that has the line, in milliseconds. */
const LEFT_TO_LINE = 100;
/** The longest lease of the line: the time for which a process that dies at its head delays the others, in milliseconds. */
const LINE_LEASE = 5_000;

/** The parts of the engine that a semaphore uses. */
interface Engine {
  localOf(lock: LockReference): LocalLease;
  /** Acquires a lock, without an event if that fails. */
  acquire(context: EngineContext, call: LockCall): Promise<LockHandle>;
}

interface Slot {
  readonly lock: LockReference;
  readonly local: LocalLease;
  /** The state in which it was held when it was last tried. */
  tried?: string;
}

/** A11: the slots of a semaphore; the lock itself, if it is none. */
export function slotsOf(lock: LockReference, permits: number): LockReference[] {
  if (permits === 1) {
    return [lock];
  }
  return Array.from({ length: permits }, (_, slot) => ({
    ...lock,
    leaseName: slotLeaseName(lock.leaseName, slot),
    slot,
  }));
}

function lineOfSemaphore(lock: LockReference): LockReference {
  return { ...lock, leaseName: lineLeaseName(lock.leaseName) };
}

/** All Leases of a lock or a semaphore. */
export function leasesOf(
  lock: LockReference,
  permits: number,
): LockReference[] {
  const slots = slotsOf(lock, permits);
  return permits === 1 ? slots : [...slots, lineOfSemaphore(lock)];
}

/** One acquisition of a semaphore. */
export class SlotSearch {
  private readonly startedAt: number;
  private readonly slots: readonly Slot[];
  private readonly slotContext: EngineContext;
  private hasWaited = false;
  private stopWatching: (() => void) | undefined;
  /** The last attempt, if it failed: with it the call ends when its time is over. */
  private failure: LockBackendError | LockNotAcquiredError | undefined;
  private failures = 0;
  private polls = 0;

  constructor(
    private readonly context: EngineContext,
    private readonly engine: Engine,
    private readonly call: LockCall,
  ) {
    const { clock, emit } = context;
    const { lock, options } = call;
    this.startedAt = clock.now();
    this.slots = slotsOf(lock, options.permits).map((slot) => ({
      lock: slot,
      // Not kept, since the engine forgets what is not in use.
      get local() {
        return engine.localOf(slot);
      },
    }));
    this.slotContext = {
      ...context,
      emit: (event) => {
        if (event.type === 'waiting') {
          this.waiting();
        } else if (event.type === 'acquired') {
          emit({ ...event, waited: this.waited });
        } else {
          emit(event);
        }
      },
    };
  }

  /** @throws LockNotAcquiredError, LockBackendError, or the signal's reason */
  async run(): Promise<LockHandle> {
    const { mode, options, signal } = this.call;
    try {
      if (mode === 'wait' && options.waitTimeout !== 0) {
        return await this.wait();
      }
      const found = await this.tryAll();
      return found ?? (await this.lookForDead());
    } catch (error) {
      // A slot, or the line, is not what the caller asked for.
      throw error instanceof LockNotAcquiredError && !signal?.aborted
        ? this.notAcquired(error.reason)
        : error;
    }
  }

  private get waited(): number {
    return this.context.clock.now() - this.startedAt;
  }

  /** A14: all steps. While this process can renew no more locks, it leaves the line to others. */
  private async wait(): Promise<LockHandle> {
    const { clock, closing } = this.context;
    const { options, signal } = this.call;
    const { waitTimeout } = options;
    const over = new AbortController();
    const cancelTimeout =
      waitTimeout === undefined
        ? undefined
        : clock.schedule(this.startedAt + waitTimeout, () => over.abort());
    const until = anyOf(signal, closing, over.signal);
    try {
      return await this.waitUntil(until.signal!);
    } catch (error) {
      if (signal?.aborted) {
        throw signal.reason;
      }
      if (closing.aborted) {
        throw this.notAcquired('shutdown');
      }
      throw over.signal.aborted && error === over.signal.reason
        ? (this.failure ?? this.notAcquired('timeout'))
        : error;
    } finally {
      cancelTimeout?.();
      until.end();
    }
  }

  private async waitUntil(end: AbortSignal): Promise<LockHandle> {
    const { clock } = this.context;
    for (let rounds = 1; ; rounds += 1) {
      // oxlint-disable no-await-in-loop -- one round after the other
      try {
        return (await this.takeIdle(end)) ?? (await this.waitInLine(end));
      } catch (error) {
        if (!isSaturated(error)) {
          throw error;
        }
        this.failure = error;
        await pause(clock, backoff(clock, rounds), end);
        this.failure = undefined;
      }
      // oxlint-enable no-await-in-loop
    }
  }

  /** Whether a slot has been free for so long that no call can be looking for one. */
  private isIdle({ local }: Slot): boolean {
    const { lease, lastLook } = local.observed;
    const verdict = local.observed.judge();
    if (lease === undefined || !verdict.takeable || !verdict.free) {
      return false;
    }
    const since = lease === null ? lastLook : verdict.since;
    return this.context.clock.now() - since >= LEFT_TO_LINE;
  }

  /** Whether this process sees that calls wait in line: they may be slower than slots become free. */
  private get isLineInUse(): boolean {
    const { isWatched, observed } = this.engine.localOf(
      lineOfSemaphore(this.call.lock),
    );
    return isWatched && !observed.judge().takeable;
  }

  /** Step 1, A12. */
  private async takeIdle(end: AbortSignal): Promise<LockHandle | undefined> {
    const idle = this.isLineInUse
      ? undefined
      : this.inOrder().find((slot) => this.isIdle(slot));
    try {
      return idle && (await this.attempt(idle, 'try', end));
    } catch (error) {
      this.throwIfUnanswered(end);
      if (!isSaturated(error)) {
        this.reportOrThrow(idle!, error);
      }
      return undefined;
    }
  }

  /** @throws if the wait has ended before an attempt did */
  private throwIfUnanswered(end: AbortSignal): void {
    if (end.aborted) {
      this.failure = noAnswer(this.call.lock, this.waited);
      throw end.reason;
    }
  }

  /** Steps 2 to 4, A12. */
  private async waitInLine(end: AbortSignal): Promise<LockHandle> {
    const { lock, options, signal } = this.call;
    const emit = (event: LockEvent): void => {
      this.emitOfLine(event);
      if (event.type === 'waiting') {
        // So that the state of the slots is known when this call has the line, and that of holders that die (R5).
        this.watchSlots();
      }
    };
    try {
      const turn = await this.engine.acquire(
        { ...this.context, emit },
        {
          lock: lineOfSemaphore(lock),
          options: lineOptions(options),
          mode: 'wait',
          startedAt: this.startedAt,
          signal,
        },
      );
      try {
        return await this.takeFirst(end);
      } finally {
        void turn.release();
      }
    } finally {
      this.stopWatching?.();
      this.stopWatching = undefined;
    }
  }

  private watchSlots(): void {
    if (this.stopWatching === undefined) {
      const stops = this.slots.map(({ local }) => local.keepWatched());
      this.stopWatching = () => stops.forEach((stop) => stop(true));
    }
  }

  /** Of the events of the line, those that do not look like another lock. */
  private emitOfLine(event: LockEvent): void {
    if (event.type === 'waiting') {
      this.waiting();
    } else if (
      event.type === 'backend-error' ||
      event.type === 'permits-differ'
    ) {
      this.context.emit(event);
    }
  }

  /** Step 3: takes the first slot that is, or becomes, free. */
  private async takeFirst(end: AbortSignal): Promise<LockHandle> {
    const { clock } = this.context;
    for (let pollAt = clock.now() + this.pollInterval; ;) {
      let slot = this.findReady();
      if (slot === undefined) {
        this.waiting();
        this.watchSlots();
        // oxlint-disable-next-line no-await-in-loop -- one change after the other
        await this.changeOrTime(pollAt, end);
      }
      if (clock.now() >= pollAt) {
        // The watch is only a hint.
        pollAt = clock.now() + this.pollInterval;
        slot ??= this.slots[this.polls++ % this.slots.length]!;
      }
      // oxlint-disable-next-line no-await-in-loop -- one slot after the other
      const held = slot && (await this.attemptAgain(slot, end));
      if (held) {
        return held;
      }
    }
  }

  private get pollInterval(): number {
    const { clock } = this.context;
    return randomized(clock, this.call.options.retryInterval);
  }

  /** A slot that may be free, and has changed since it was last tried. */
  private findReady(): Slot | undefined {
    const now = this.context.clock.now();
    const ready = this.slots.filter((slot) => {
      const verdict = slot.local.observed.judge();
      const mayBeFree =
        slot.local.observed.lease === undefined ||
        verdict.takeable ||
        (verdict.expiresAt ?? Infinity) <= now;
      return mayBeFree && slot.tried !== stateOf(slot);
    });
    return ready.find(isKnown) ?? ready[0];
  }

  /** Resolves at the next change of a slot, or when one expires, or at this monotonic time. */
  private changeOrTime(at: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.context;
    const times = this.slots.flatMap(({ local }) => {
      const verdict = local.observed.judge();
      return verdict.takeable ? [] : (verdict.expiresAt ?? []);
    });
    const future = times.filter((time) => time > clock.now());
    return waitUntil((done) => {
      const ends = this.slots.map(({ local }) =>
        local.listen({ recordSeen: done, recordGone: done }),
      );
      ends.push(clock.schedule(Math.min(at, ...future), done));
      return () => ends.forEach((end) => end());
    }, signal);
  }

  /** Tries a slot; a failure that may pass is reported, and followed by a pause. */
  private async attemptAgain(
    slot: Slot,
    end: AbortSignal,
  ): Promise<LockHandle | undefined> {
    const { clock } = this.context;
    const before = stateOf(slot);
    try {
      const held = await this.attempt(slot, 'try', end);
      // A slot that was released meanwhile is tried again.
      const isFree = slot.local.observed.judge().takeable;
      slot.tried = isFree ? before : stateOf(slot);
      this.failure = undefined;
      this.failures = 0;
      return held;
    } catch (error) {
      this.throwIfUnanswered(end);
      this.failure = this.reportOrThrow(slot, error);
      this.failures += 1;
      await pause(clock, backoff(clock, this.failures), end);
      return undefined;
    }
  }

  /** Reports a failure that may pass. @throws any other error */
  private reportOrThrow({ lock }: Slot, error: unknown): LockBackendError {
    if (!(error instanceof LockBackendError) || isFinal(error)) {
      throw error;
    }
    const operation = 'acquire';
    this.context.emit({ type: 'backend-error', ...lock, operation, error });
    return error;
  }

  /** @returns undefined if the slot is held */
  private async attempt(
    { lock }: Slot,
    mode: AcquireMode,
    signal: AbortSignal | undefined,
  ): Promise<LockHandle | undefined> {
    const { options } = this.call;
    try {
      return await this.engine.acquire(this.slotContext, {
        lock,
        options,
        mode,
        signal,
      });
    } catch (error) {
      if (error instanceof LockNotAcquiredError && error.reason === 'held') {
        return undefined;
      }
      throw error;
    }
  }

  /** Takes a slot that is free; under `skip`, without asking for those that are watched and held. */
  private async tryAll(): Promise<LockHandle | undefined> {
    const { mode, signal } = this.call;
    const slots = this.inOrder().filter(
      ({ local }) =>
        mode !== 'skip' ||
        !local.isWatched ||
        local.observed.lease === undefined ||
        local.observed.judge().takeable,
    );
    return this.firstOf(slots, (slot) => this.attempt(slot, 'try', signal));
  }

  /** Under `skip`: waits until each holder is known to be alive, and takes the slot of one that is dead. */
  private async lookForDead(): Promise<LockHandle> {
    const { mode, signal } = this.call;
    if (mode === 'skip') {
      // All are watched meanwhile, so that the second look is over with the first.
      const stops = this.slots.map(({ local }) => local.keepWatched());
      try {
        const held = await this.firstOf(this.slots, (slot) =>
          this.attempt(slot, 'skip', signal),
        );
        if (held) {
          return held;
        }
      } finally {
        stops.forEach((stop) => stop());
      }
    }
    throw this.notAcquired(mode === 'wait' ? 'timeout' : 'held');
  }

  private async firstOf(
    slots: readonly Slot[],
    acquire: (slot: Slot) => Promise<LockHandle | undefined>,
  ): Promise<LockHandle | undefined> {
    for (const slot of slots) {
      // oxlint-disable-next-line no-await-in-loop -- never two slots
      const held = await acquire(slot);
      if (held) {
        return held;
      }
    }
    return undefined;
  }

  /** The slots in an order that begins anywhere: those known to be free first, and those known to be held last. */
  private inOrder(): Slot[] {
    const { slots } = this;
    const first = Math.floor(this.context.clock.random() * slots.length);
    const rank = (slot: Slot): number =>
      isKnown(slot) ? (slot.local.observed.judge().takeable ? 0 : 2) : 1;
    return [...slots.slice(first), ...slots.slice(0, first)].toSorted(
      (one, other) => rank(one) - rank(other),
    );
  }

  private waiting(): void {
    if (!this.hasWaited) {
      this.hasWaited = true;
      this.context.emit({ type: 'waiting', ...this.call.lock });
    }
  }

  private notAcquired(
    reason: LockNotAcquiredError['reason'],
  ): LockNotAcquiredError {
    const { lock, options } = this.call;
    const { permits, retryInterval } = options;
    const { saturation } = this.context.admission;
    const { waited } = this;
    return new LockNotAcquiredError(lock, reason, {
      permits,
      waited,
      retryInterval,
      ...(reason === 'saturated' && { saturation }),
    });
  }
}

/** The line is held only while its head looks for a slot. */
function lineOptions(options: ResolvedLockOptions): ResolvedLockOptions {
  const leaseDuration = Math.min(options.leaseDuration, LINE_LEASE);
  return {
    ...options,
    leaseDuration,
    autoRenew: true,
    renewInterval: leaseDuration / 3,
    safetyMargin: leaseDuration / 10,
    maxHold: undefined,
    minHold: 0,
  };
}

function isSaturated(error: unknown): error is LockNotAcquiredError {
  return error instanceof LockNotAcquiredError && error.reason === 'saturated';
}

function isKnown({ local }: Slot): boolean {
  return local.observed.lease !== undefined;
}

/** Differs once the record, or what is known of its session, has changed. */
function stateOf({ local }: Slot): string {
  const { lease } = local.observed;
  const { takeable } = local.observed.judge();
  return `${lease?.metadata.resourceVersion} ${takeable}`;
}
