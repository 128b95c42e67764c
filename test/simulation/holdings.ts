/** Who believes to hold what, and whether that belief is to be excused. */
import { LockLostError } from '../../lib/lock.errors.js';
import type { LockHandle } from '../../lib/lock/lock-handle.js';
import type { Machine } from './machine.js';
import type { Timeline } from './timeline.js';

/** What a client was given when it acquired a lock. */
export interface Holding {
  readonly hold: LockHandle;
  /** As the user took it from `hold`, once: to ask `hold` for it makes that look at the clock. */
  readonly signal: AbortSignal;
  readonly machine: Machine;
  readonly leaseDuration: number | 'infinite';
  readonly minHold: number;
  /** Whether the Lease is to be deleted in the end. */
  readonly mayDelete: boolean;
  /** The user has given it back. */
  isReleased: boolean;
  /** True time at which somebody took it away who may not, or by force. */
  robbedAt: number | undefined;
}

export class Holdings {
  private readonly byIdentity = new Map<string, Holding>();
  /** Those that the user has not given back yet. */
  private readonly active = new Set<Holding>();

  constructor(private readonly timeline: Timeline) {}

  add(holding: Holding): void {
    this.byIdentity.set(holding.hold.holderIdentity, holding);
    this.active.add(holding);
  }

  released(holding: Holding): void {
    holding.isReleased = true;
    this.active.delete(holding);
  }

  /** The process is gone, and its beliefs with it. */
  died(machine: Machine): void {
    for (const holding of this.active) {
      if (holding.machine === machine) {
        this.active.delete(holding);
      }
    }
  }

  get(identity: string): Holding | undefined {
    return this.byIdentity.get(identity);
  }

  /** Those not given back yet, of one Lease or of all. */
  *current(leaseName?: string): Iterable<Holding> {
    for (const holding of this.active) {
      if (leaseName === undefined || holding.hold.leaseName === leaseName) {
        yield holding;
      }
    }
  }

  /** The client believes that it holds the lock, whatever is true. */
  believes(holding: Holding): boolean {
    const { hold, machine, isReleased } = holding;
    if (isReleased || machine.isDead) {
      return false;
    }
    // One that was asked to stop has the lock until it does, and only `isHeld` can tell.
    return (
      !holding.signal.aborted ||
      (this.wasAskedToStop(holding) && machine.observe(() => hold.isHeld))
    );
  }

  /** The application is shutting down: it gives the lock back itself when the work takes too long. */
  wasAskedToStop({ signal: { reason } }: Holding): boolean {
    return reason instanceof LockLostError && reason.reason === 'shutdown';
  }

  /** The client believes so, and can't be excused by a pause or a robbery. */
  insists(holding: Holding): boolean {
    return (
      !holding.machine.isFrozen &&
      holding.robbedAt === undefined &&
      this.believes(holding)
    );
  }

  describe({ hold, machine }: Holding): string {
    return `${this.timeline.nameOf(hold.holderIdentity)} (on ${machine.name})`;
  }
}
