/**
 * Admission control: a process acquires a lock only if it can renew that lock in time besides those that it
 * holds. Otherwise the call waits here, before its acquiring write, or fails.
 *
 * What the locks need is the sum of their renewals a second; what this process can do is the capacity that the
 * store has measured. Few calls acquire at once, so that the capacity is measured again before the next.
 */
import type { ResolvedLockOptions } from '../k8s-lock.options.js';
import type { LeaseStore } from '../kube/lease-store.js';
import type { LockReference, LockSaturation } from '../lock.errors.js';
import type { LockEvent } from '../lock.events.js';
import type { Clock } from './clock.js';

/** The number of admitted calls that may be acquiring at once. */
const MOST_ACQUIRING = 24;

/** Milliseconds between two looks at the capacity while calls wait. */
const CHECK_INTERVAL = 100;

/** The admission of one lock, from before its acquiring write to its last renewal. */
export interface Permit {
  /** The lock is acquired. */
  used(): void;
  /** The lock needs no renewals any more, or was not acquired. Calls after the first do nothing. */
  end(): void;
}

/** A call that asks for a permit. */
export interface Applicant {
  readonly lock: LockReference;
  /** The renewals a second that the lock needs. */
  readonly renewals: number;
  /** Whether it waits while this process is saturated, or does so still. */
  readonly waits: () => boolean;
  /** Called once. */
  admitted(permit: Permit): void;
  /** Called instead if it does not wait. */
  refused(): void;
}

/** The permit of a lock that is not renewed, or can't expire. */
const NEEDLESS: Permit = { used: () => undefined, end: () => undefined };

export class Admission {
  private locks = 0;
  /** The renewals a second of all permits. */
  private demand = 0;
  private acquiring = 0;
  private readonly waiting = new Set<Applicant>();
  /** The time since which calls are held back, and the first of them. */
  private episode: { since: number; first: Applicant } | undefined;
  private cancelCheck: (() => void) | undefined;

  constructor(
    private readonly store: Pick<LeaseStore, 'capacity'>,
    private readonly clock: Clock,
    private readonly emit: (event: LockEvent) => void,
  ) {}

  /** What a call that is held back must know; undefined while this process can renew more locks. */
  get saturation(): LockSaturation | undefined {
    return this.episode && this.state;
  }

  /** Admits the call as soon as it can be, not before this returns. @returns a function that ends its wait */
  apply(call: Applicant): () => void {
    this.waiting.add(call);
    // Not by queueMicrotask(), which fake timers may replace.
    void Promise.resolve(call).then((applicant) => {
      this.check();
      return this.refuse(applicant);
    });
    return () => {
      if (this.waiting.delete(call)) {
        this.check();
      }
    };
  }

  /** Admits a lock if no call is before it, and there is room for it. */
  admitAtOnce(renewals: number): Permit | undefined {
    const isNext = this.waiting.size === 0 && this.acquiring < MOST_ACQUIRING;
    return renewals === 0 || isNext ? this.tryAdmit(renewals) : undefined;
  }

  /** Admits a lock that can't wait, if there is room for it. */
  tryAdmit(renewals: number): Permit | undefined {
    return this.hasRoomFor(renewals) ? this.newPermit(renewals) : undefined;
  }

  private get state(): LockSaturation {
    const { locks, demand } = this;
    return { locks, demand, capacity: this.store.capacity };
  }

  /** A16: a process that renews nothing can always take a lock, and any process one that it need not renew. */
  private hasRoomFor(renewals: number): boolean {
    const demand = this.demand + renewals;
    return renewals === 0 || this.locks === 0 || demand <= this.store.capacity;
  }

  /** Admits those that can be, in their order. */
  private check(): void {
    if (this.waiting.size === 0 && this.cancelCheck === undefined) {
      return; // nobody waits, or did at the last check
    }
    for (const call of this.waiting) {
      if (this.acquiring >= MOST_ACQUIRING) {
        break;
      }
      if (!this.hasRoomFor(call.renewals)) {
        this.beginEpisode(call);
        break;
      }
      this.waiting.delete(call);
      call.admitted(this.newPermit(call.renewals));
    }
    this.endEpisode();
    this.checkLater();
  }

  private beginEpisode(first: Applicant): void {
    if (this.episode === undefined) {
      this.episode = { since: this.clock.now(), first };
      this.emit({ type: 'saturated', ...first.lock, ...this.state });
    }
  }

  /** Refuses a call that is held back and does not wait for it. */
  private refuse(call: Applicant): void {
    if (this.episode && this.waiting.has(call) && !call.waits()) {
      this.waiting.delete(call);
      call.refused();
      this.checkLater();
    }
  }

  /** An episode ends when no call waits, and the first one of it would not. */
  private endEpisode(): void {
    const { episode } = this;
    if (
      episode === undefined ||
      this.waiting.size > 0 ||
      !this.hasRoomFor(episode.first.renewals)
    ) {
      return;
    }
    this.episode = undefined;
    const duration = this.clock.now() - episode.since;
    this.emit({ type: 'unsaturated', ...episode.first.lock, duration });
  }

  private checkLater(): void {
    this.cancelCheck?.();
    this.cancelCheck = undefined;
    if (this.waiting.size > 0 || this.episode !== undefined) {
      this.cancelCheck = this.clock.schedule(
        this.clock.now() + CHECK_INTERVAL,
        () => {
          this.check();
          this.waiting.forEach((call) => this.refuse(call));
        },
        { background: this.waiting.size === 0 },
      );
    }
  }

  /** Without a look at the capacity: for a lock that takes the place of another one. */
  newPermit(renewals: number): Permit {
    if (renewals === 0) {
      return NEEDLESS;
    }
    let isAcquiring = true;
    let hasEnded = false;
    this.locks += 1;
    this.demand += renewals;
    this.acquiring += 1;
    const used = (): void => {
      if (isAcquiring) {
        isAcquiring = false;
        this.acquiring -= 1;
        this.check();
      }
    };
    const end = (): void => {
      if (!hasEnded) {
        hasEnded = true;
        this.locks -= 1;
        // Sums of fractions are not exact.
        this.demand = this.locks === 0 ? 0 : this.demand - renewals;
        used();
        this.check();
      }
    };
    return { used, end };
  }
}

/** The renewals a second that a lock with these options needs. */
export function renewalsOf({
  autoRenew,
  leaseDuration,
  renewInterval,
}: ResolvedLockOptions): number {
  return autoRenew && leaseDuration !== Infinity ? 1_000 / renewInterval : 0;
}
