/** Writes the record of a lock: acquires, renews, releases, undoes a write whose outcome is unknown, and evicts. */
import {
  LeaseStoreError,
  type Lease,
  type LeaseKey,
  type RequestOptions,
  type StoredLease,
} from '../../kube/lease-store.js';
import type { LockReference } from '../../lock.errors.js';
import type { Clock } from '../clock.js';
import { reportFailure, type EngineContext } from '../engine-context.js';
import { endClaim, readClaim, type ClaimEnd } from '../record/fire-claim.js';
import {
  createFree,
  createTaken,
  evict,
  hasFinalizers,
  invalidate,
  isHeldBy,
  readHolder,
  refuseCoordinated,
  release,
  renew,
  retain,
  take,
  type NewHolder,
} from '../record/lease-record.js';
import {
  backoff,
  delayOfRetry,
  isFirstConflict,
  LONGEST_WRITE,
  retryWrite,
} from '../retry.js';
import type { LocalLease } from './local-lease.js';

/** How often a forced release meets a conflict before it fails with it. */
const MOST_FORCED_TRIES = 5;

/** A record that was written. */
export interface WrittenLease {
  readonly lease: StoredLease;
  /** R8: the monotonic time at which the write was SENT. */
  readonly sentAt: number;
}

/** How a holder ends. */
export interface Ending {
  /** Whose record: it is touched as long as it names this holder, and not a moment longer. */
  readonly identity: string;
  /** Monotonic time at which to give up: then the lease has expired by itself. */
  readonly giveUpAt: number;
  /** Monotonic time until which the lock must stay taken (`minHold`). */
  readonly takenUntil?: number;
  /** What became of the work that was claimed with the lock, if any. */
  readonly claim: ClaimEnd;
  /** Delete the Lease rather than mark it free, unless it remembers a fire, or would stay. */
  readonly remove: boolean;
}

/** An acquiring write that may have landed, or may still land. */
export interface AmbiguousWrite {
  readonly identity: string;
  /** The resourceVersion that it was based on; undefined = it was to create the Lease. */
  readonly basedOn: string | undefined;
  /** How long the record stays taken if it has landed and is not undone. */
  readonly leaseDuration: number;
}

export class LeaseWriter {
  constructor(
    private readonly context: EngineContext,
    private readonly local: LocalLease,
    private readonly lock: LockReference,
    /** The engine is closed: what is retried is given up. */
    private readonly closed: AbortSignal,
  ) {}

  /**
   * R1, R2: writes over the record as it is known in the very turn in which it is called: its caller has just
   * judged that one. It is the release of a holder of this process, too, that is known to have ended.
   *
   * @throws LeaseStoreError
   */
  acquire(
    newHolder: NewHolder,
    options: RequestOptions,
  ): Promise<WrittenLease> {
    const { local } = this;
    const { clock } = this.context;
    const lease = local.observed.effectiveLease;
    return lease
      ? this.sent(
          (make) => local.replace(make, options),
          () => take(lease, newHolder, clock),
        )
      : this.sent(
          (make) => local.create(make, options),
          () => newRecord(local.key, newHolder, clock),
        );
  }

  /**
   * R1, R3: moves the times of a record that was found to be the holder's.
   *
   * @param change what else becomes of it; called in the moment in which the request is sent
   * @throws LeaseStoreError
   */
  renew(
    lease: StoredLease,
    leaseDuration: number,
    change: (lease: StoredLease) => StoredLease,
    options: RequestOptions,
  ): Promise<WrittenLease> {
    const { clock } = this.context;
    return this.sent(
      (make) => this.local.replace(make, options),
      () => change(renew(lease, leaseDuration, clock)),
    );
  }

  /**
   * R6: releases the record, if it still names this holder, and touches no other. Failures are reported and
   * retried until `giveUpAt`; never rejects.
   */
  async release(ending: Ending): Promise<void> {
    const { context, local, lock } = this;
    const { identity, giveUpAt } = ending;
    let { remove } = ending;
    const attempt = async (mustLook: boolean): Promise<void> => {
      let lease = local.observed.lease;
      if (mustLook || !isHeldBy(lease, identity)) {
        lease = await local.read(this.requestOptions());
      }
      if (!isHeldBy(lease, identity)) {
        return;
      }
      if (!(await this.writeEnd(lease, { ...ending, remove }))) {
        remove = false;
        await attempt(true);
      }
    };
    const delayAfter = (
      error: LeaseStoreError,
      failures: number,
    ): number | undefined => {
      if (remove && error.reason === 'forbidden') {
        // Without the right to delete it, the Lease is marked free.
        reportFailure(context, lock, 'release', error);
        remove = false;
        return 0;
      }
      return this.delayUntil(giveUpAt, error, failures);
    };
    await this.retry((failures) => attempt(failures > 0), delayAfter).catch(
      () => undefined,
    );
  }

  /**
   * R6, R9: frees the record, keeps it taken for the rest of `minHold`, or deletes the Lease if that is asked for.
   *
   * @returns false when the Lease that was deleted is still there
   */
  private async writeEnd(
    found: StoredLease,
    { takenUntil = 0, claim, remove }: Ending,
  ): Promise<boolean> {
    const { local } = this;
    const { clock } = this.context;
    const lease = endClaim(found, claim);
    if (takenUntil > clock.now()) {
      const rest = (): number => Math.max(1, takenUntil - clock.now());
      await local.replace(
        () => retain(lease, rest(), clock),
        this.requestOptions(),
      );
      return true;
    }
    // A finalizer keeps a deleted Lease, which would go on naming its holder.
    if (remove && readClaim(found) === undefined && !hasFinalizers(found)) {
      return local.delete(lease, this.requestOptions());
    }
    await local.replace(() => release(lease), this.requestOptions());
    return true;
  }

  /**
   * R7: undoes an acquiring write that nobody wants any more: looks for its identity, and frees the record if it
   * has landed, or makes it fail. It may land up to half a minute later. Never rejects.
   */
  async undo({
    identity,
    basedOn,
    leaseDuration,
  }: AmbiguousWrite): Promise<void> {
    const { local } = this;
    const giveUpAt =
      this.context.clock.now() + Math.max(LONGEST_WRITE, leaseDuration);
    const attempt = async (): Promise<void> => {
      const options = this.requestOptions();
      const lease = await local.read(options);
      if (lease?.spec?.holderIdentity === identity) {
        const freed = evict(endClaim(lease, 'open'));
        await local.replace(() => freed, options);
      } else if (lease?.metadata.resourceVersion !== basedOn) {
        return; // somebody else wrote in between: it can't land any more
      } else if (lease === null) {
        await local.create(() => createFree(local.key), options);
      } else {
        await local.replace(() => invalidate(lease, identity), options);
      }
    };
    await this.retry(attempt, (error, failures) =>
      this.delayUntil(giveUpAt, error, failures),
    ).catch(() => undefined);
  }

  /**
   * R6: frees the record of the holder that it names at the first look, whoever that is.
   *
   * @returns the record as it was; undefined when it was free, or changed hands meanwhile
   * @throws LeaseStoreError, LockBackendError
   */
  async evict(): Promise<StoredLease | undefined> {
    const { clock } = this.context;
    let victim: string | undefined;
    const attempt = async (): Promise<StoredLease | undefined> => {
      const lease = await this.local.read(this.requestOptions());
      refuseCoordinated(this.lock, lease);
      const state = lease ? readHolder(lease) : undefined;
      if (!lease || !state?.held || (victim ?? state.holder) !== state.holder) {
        return undefined;
      }
      victim = state.holder;
      await this.local.replace(() => evict(lease), this.requestOptions());
      return lease;
    };
    return this.retry(attempt, (error, failures) => {
      if (error.reason !== 'conflict' || failures >= MOST_FORCED_TRIES) {
        return undefined;
      }
      return isFirstConflict(error, failures)
        ? 0
        : backoff(clock, failures, 1_000);
    });
  }

  private async sent<T extends Lease>(
    send: (make: () => T) => Promise<StoredLease>,
    make: () => T,
  ): Promise<WrittenLease> {
    const { clock } = this.context;
    let sentAt = clock.now();
    const lease = await send(() => {
      sentAt = clock.now();
      return make();
    });
    return { lease, sentAt };
  }

  private retry<T>(
    attempt: (failures: number) => Promise<T>,
    delayAfter: (
      error: LeaseStoreError,
      failures: number,
    ) => number | undefined,
  ): Promise<T> {
    return retryWrite(this.context.clock, this.closed, attempt, delayAfter);
  }

  private delayUntil(
    giveUpAt: number,
    error: LeaseStoreError,
    failures: number,
  ): number | undefined {
    const { context, lock } = this;
    const delay = delayOfRetry(context, lock, error, { failures, giveUpAt });
    const isOver = delay > 0 && context.clock.now() + delay >= giveUpAt;
    return isOver ? undefined : delay;
  }

  private requestOptions(): RequestOptions {
    return {
      timeout: this.context.requestTimeout,
      signal: this.closed,
      priority: 'release',
    };
  }
}

/**
 * R7: a creation without an answer may land whenever the Lease does not exist, up to half a minute later,
 * and no comparison can stop it. It must not leave a lock taken that never expires: such a one is
 * created free, and the next write takes it.
 */
function newRecord(key: LeaseKey, newHolder: NewHolder, clock: Clock): Lease {
  return newHolder.leaseDuration === Infinity
    ? createFree(key)
    : createTaken(key, newHolder, clock);
}
