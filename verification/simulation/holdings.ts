/** Which process believes that it holds which lock, and whether an overlap is excused. */
import { LockLostError } from '../../lib/lock.errors.js';
import type { ResolvedLockOptions } from '../../lib/k8s-lock.options.js';
import { HeldLock, type LockHandle } from '../../lib/lock/hold/lock-handle.js';
import type { Machine } from './machine.js';
import type { Timeline } from './timeline.js';

/** What a client was given when it acquired a lock. */
export interface Holding {
  readonly handle: LockHandle;
  /** As the user took it from `handle`, once: to ask `handle` for it makes that look at the clock. */
  readonly signal: AbortSignal;
  /** The handles that are in use, `handle` and those that were borrowed from it, each with its signal. */
  readonly inUse: Map<LockHandle, AbortSignal>;
  readonly machine: Machine;
  readonly leaseDuration: number;
  readonly minHold: number;
  /** Whether it is held under the session of its process. */
  readonly hasSession: boolean;
  /** Whether the Lease is to be deleted in the end. */
  readonly mayDelete: boolean;
  /** The user, and all who have borrowed it, have given it back. */
  isReleased: boolean;
  /** True time at which somebody took it away who may not, or by force. */
  robbedAt: number | undefined;
}

/** What is held by `handle`, for a user who follows `signal`. */
export function holdingOf(
  handle: LockHandle,
  machine: Machine,
  {
    signal,
    options: { leaseDuration, minHold, deleteOnRelease },
  }: { signal: AbortSignal; options: ResolvedLockOptions },
): Holding {
  return {
    handle,
    signal,
    inUse: new Map([[handle, signal]]),
    machine,
    leaseDuration,
    minHold,
    hasSession:
      handle instanceof HeldLock && handle['holder']['session'] !== undefined,
    mayDelete: deleteOnRelease,
    isReleased: false,
    robbedAt: undefined,
  };
}

export class Holdings {
  private readonly byIdentity = new Map<string, Holding>();
  /** Those that the user has not given back yet. */
  private readonly active = new Set<Holding>();
  private readonly closing = new Set<Machine>();

  constructor(private readonly timeline: Timeline) {}

  add(holding: Holding): void {
    this.byIdentity.set(holding.handle.holderIdentity, holding);
    this.active.add(holding);
  }

  /** A handle of it was given back. */
  released(holding: Holding, handle: LockHandle): void {
    holding.inUse.delete(handle);
    if (holding.inUse.size === 0) {
      holding.isReleased = true;
      this.active.delete(holding);
    }
  }

  /** The process is gone, and its beliefs with it. */
  died(machine: Machine): void {
    for (const holding of this.active) {
      if (holding.machine === machine) {
        this.active.delete(holding);
      }
    }
  }

  /** The process has been told to close: what it acquires in that very turn it hands out to nobody. */
  beginClosing(machine: Machine): void {
    this.closing.add(machine);
  }

  isClosing(machine: Machine | undefined): boolean {
    return machine !== undefined && this.closing.has(machine);
  }

  get(identity: string): Holding | undefined {
    return this.byIdentity.get(identity);
  }

  /** Those not given back yet, of one Lease or of all. */
  *current(leaseName?: string): Iterable<Holding> {
    for (const holding of this.active) {
      if (leaseName === undefined || holding.handle.leaseName === leaseName) {
        yield holding;
      }
    }
  }

  /** The client believes that it holds the lock, by one handle at least, whatever is true. */
  believes({ machine, inUse }: Holding): boolean {
    return (
      !machine.isDead &&
      Array.from(inUse).some(
        // One that was asked to stop has the lock until it does, and only `isHeld` can tell.
        ([handle, signal]) =>
          !signal.aborted ||
          (isOfOwnEnd(signal) && machine.observe(() => handle.isHeld)),
      )
    );
  }

  /** The application is shutting down: it gives the lock back itself when the work takes too long. */
  wasAskedToStop({ signal }: Holding): boolean {
    return isOfShutdown(signal);
  }

  /** The client believes so, and can't be excused by a pause or a robbery. */
  insists(holding: Holding): boolean {
    return (
      !holding.machine.isFrozen &&
      holding.robbedAt === undefined &&
      this.believes(holding)
    );
  }

  describe({ handle, machine }: Holding): string {
    return `${this.timeline.nameOf(handle.holderIdentity)} (on ${machine.name})`;
  }
}

/** The process itself has asked to stop, and keeps the lock until the work does: at its shutdown, or as it stops leading. */
function isOfOwnEnd({ reason }: AbortSignal): boolean {
  return (
    reason instanceof LockLostError &&
    ['shutdown', 'released'].includes(reason.reason)
  );
}

function isOfShutdown({ reason }: AbortSignal): boolean {
  return reason instanceof LockLostError && reason.reason === 'shutdown';
}
