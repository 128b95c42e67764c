/** Writes the record of a lock: acquires, renews, releases and grants, undoes, evicts, and withdraws tickets. */
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
import { comparedContent } from '../record/lease-patch.js';
import {
  annotate,
  createFree,
  createTaken,
  dropsManagedFields,
  durationSeconds,
  evict,
  findRefusal,
  grant,
  hasFinalizers,
  invalidate,
  isForeign,
  isHeldBy,
  leaveFree,
  leaveSession,
  newHolderIdentity,
  readHolder,
  release,
  renew,
  retain,
  take,
  type NewHolder,
} from '../record/lease-record.js';
import { sessionOf } from '../record/session.js';
import {
  backoff,
  delayOfRetry,
  isFirstConflict,
  lastRequest,
  LONGEST_WRITE,
  retryUntil,
  retryWrite,
} from '../retry.js';
import {
  GRANT_DURATION,
  grantOf,
  lineOf,
  positionOf,
  ticketAnnotation,
  ticketsToDrop,
  type Ticket,
} from '../record/line.js';
import type { LocalLease, WrittenLease } from './local-lease.js';
import type { OwnTicket } from './place-in-line.js';

/** The number of conflicts after which a forced release fails: a holder that renews often causes some. */
const MOST_FORCED_TRIES = 16;

/** What a release writes. */
export interface Ending {
  /** The record is changed only while it names this holder. */
  readonly identity: string;
  /** Monotonic time at which attempts end, because the lease has expired. */
  readonly giveUpAt: number;
  /** Monotonic time until which the lock must stay taken (`minHold`). */
  readonly takenUntil?: number;
  /** The end of the fire that was claimed with the lock, if any. Default `open`: nobody has worked under the lock. */
  readonly claim?: ClaimEnd;
  /** Delete the Lease instead of marking it free, unless it stores a fire claim or has finalizers. */
  readonly remove?: boolean;
  /** Leave the record free for a moment, although processes may be in line. */
  readonly courtesy?: boolean;
  /** If the lock is granted to another process, enrol this one again, for a lease of this duration. */
  readonly placeFor?: number;
}

/** R11: the place of this process that a release has written, or may have (`isUncertain`). */
interface KeptPlace {
  ticket?: OwnTicket | undefined;
  isUncertain?: boolean;
}

export class LeaseWriter {
  private hasWritten = false;

  constructor(
    private readonly context: EngineContext,
    private readonly local: LocalLease,
    private readonly lock: LockReference,
  ) {}

  /**
   * R1, R2, A8, A25: acquires by replacing the record as it is known when this is called, since the caller has just
   * judged that record. The write also serves as the release of an ended holder of this process, or confirms
   * the lock that a grant, or a write without an answer, has given to the caller.
   *
   * @throws LeaseStoreError
   */
  acquire(
    newHolder: NewHolder,
    options: RequestOptions,
  ): Promise<WrittenLease> {
    const { local } = this;
    const { clock } = this.context;
    const { identity } = newHolder;
    const { lease: found, effectiveLease: lease } = local.observed;
    if (!found || !lease) {
      const created = (): Lease => newRecord(local.key, newHolder, clock);
      return local.create(created, options);
    }
    const verdict = local.observed.judge(identity);
    const hasGrantLapsed =
      verdict.takeable && verdict.expired && grantOf(lease) !== undefined;
    const dropped = ticketsToDrop(lease, identity, hasGrantLapsed);
    const make = (): StoredLease => take(lease, newHolder, clock, dropped);
    // A record that is free, or whose holder was written by hand, may come back with the same content: a late PATCH would
    // then be applied, unless it removes a ticket, which is gone.
    const mayComeBack =
      verdict.takeable &&
      (verdict.free || verdict.expired) &&
      dropped.length === 0;
    return mayComeBack
      ? local.replace(make, options)
      : this.change('acquire', found, make, options);
  }

  /**
   * R7: undoes a write without an answer, which the API server may still apply up to 34 s after its caller gave up:
   * frees the record if it was applied, and otherwise changes the record so that the write fails. Never rejects.
   *
   * @param basedOn what the write compares (see `comparedContent`); undefined = it was a creation
   */
  async undo(
    identity: string,
    basedOn: string | undefined,
    giveUpAt: number,
  ): Promise<void> {
    const { context, local, lock } = this;
    await retryUntil(context, lock, giveUpAt, async () => {
      const options = lastRequest(context);
      const lease = await local.read(options);
      if (isHeldBy(lease, identity)) {
        const freed = evict(endClaim(lease, 'open'));
        await local.replace(() => freed, options);
      } else if (comparedContent(lease) !== basedOn) {
        return; // another client wrote in between, so the write can't be applied any more
      } else if (lease === null) {
        await local.create(() => createFree(local.key), options);
      } else {
        await local.replace(() => invalidate(lease, identity), options);
      }
    });
  }

  /** R1: writes the record; by content if processes are in line, so that no enrolment disturbs it. */
  private async change(
    operation: 'acquire' | 'renew' | 'release',
    found: StoredLease,
    make: () => StoredLease,
    options: RequestOptions,
  ): Promise<WrittenLease> {
    const { context, local, lock } = this;
    // Only a PUT removes managedFields, and it conflicts with every enrolment, so it is tried once.
    const mustReplace = !this.hasWritten && dropsManagedFields(found);
    this.hasWritten = true;
    const isInUse = lineOf(found).length > 0;
    if (isInUse && local.place.isPermitted && !mustReplace) {
      try {
        return await local.change(found, make, options);
      } catch (error) {
        // The lock may have been released meanwhile, and must not be renewed then.
        const isOver =
          operation === 'renew' && found.spec?.holderIdentity !== local.holder;
        if (local.place.isPermitted || isOver) {
          throw error;
        }
        reportFailure(context, lock, operation, error);
      }
    }
    return local.replace(make, options);
  }

  /** R11: a ticket under a new holder identity. */
  newTicket(lease: StoredLease, leaseDuration: number): OwnTicket {
    // A grant to a process that has died must not look infinite to other clients.
    const granted = leaseDuration === Infinity ? GRANT_DURATION : leaseDuration;
    return {
      identity: newHolderIdentity(this.context.clientId),
      number: this.local.place.numberIn(lease),
      seconds: durationSeconds(granted),
      uid: lease.metadata.uid,
      sentAt: this.context.clock.now(),
      hasLanded: false,
    };
  }

  /** R11: the ticket was removed from the line. The next ticket takes over its number. */
  loseTicket(): void {
    const { observed, place } = this.local;
    const uncertain = place.wasRemoved(observed.lease);
    if (uncertain !== undefined) {
      this.context.background(this.withdraw(uncertain));
    }
  }

  /** R11: gives the place of this process up. A grant that crosses this is passed on. */
  leaveLine(): void {
    const ticket = this.local.place.leave();
    if (ticket !== undefined) {
      this.context.background(this.withdraw(ticket));
    }
  }

  /** R11: gives up the place that a release kept, unless a call uses it soon. */
  awaitCaller(): void {
    const { place, queue } = this.local;
    if (place.ticket !== undefined && !queue.isOccupied) {
      place.awaitCaller(() => this.leaveLine());
    }
  }

  /** R11: removes a ticket, or passes its grant on. Never rejects. Ends once the ticket can't be granted any more. */
  private async withdraw(ticket: OwnTicket): Promise<void> {
    const { local } = this;
    const { clock, requestTimeout, closing, closed } = this.context;
    const { place } = local;
    const giveUpAt = clock.now() + LONGEST_WRITE;
    const stopWatching = local.keepWatched();
    const attempt = async (failures: number): Promise<void> => {
      if (failures > 0 || !local.observed.lease || !ticket.hasLanded) {
        await local.read(lastRequest(this.context));
      }
      for (let looks = 1; ; looks += 1) {
        const { lease } = local.observed;
        if (!lease || lease.metadata.uid !== ticket.uid) {
          return;
        }
        if (isHeldBy(lease, ticket.identity)) {
          return await this.release({ identity: ticket.identity, giveUpAt });
        }
        const stands = positionOf(lease, ticket.identity) !== undefined;
        if (stands && place.isPermitted && !isForeign(lease)) {
          return await local.removeTicket(ticket, lastRequest(this.context));
        }
        if (stands ? closing.aborted : ticket.hasLanded) {
          return;
        }
        // A process that is closing waits for no more than the answer of the enrolment.
        const landsUntil = closing.aborted
          ? Math.min(giveUpAt, ticket.sentAt + requestTimeout)
          : giveUpAt;
        if (clock.now() >= landsUntil) {
          return;
        }
        // A watch may be missing, or dead.
        const delay = local.isTold ? Infinity : backoff(clock, looks);
        const lookAt = Math.min(landsUntil, clock.now() + delay);
        await local
          .changeOrTime(
            lookAt - clock.now(),
            closing.aborted ? closed : closing,
          )
          .catch(() => closed.throwIfAborted());
        // A watch may also tell late that an earlier Lease was deleted.
        if (clock.now() >= lookAt || !local.observed.lease) {
          await local.read(lastRequest(this.context));
        }
      }
    };
    await retryUntil(this.context, this.lock, giveUpAt, attempt);
    stopWatching();
  }

  /**
   * R1, R3: moves the times of a record that names the holder.
   *
   * @param change makes a further change of the record; called when the request is sent
   * @throws LeaseStoreError
   */
  renew(
    lease: StoredLease,
    leaseDuration: number,
    change: (lease: StoredLease) => StoredLease,
    options: RequestOptions,
  ): Promise<WrittenLease> {
    const { clock } = this.context;
    return this.change(
      'renew',
      lease,
      () => change(renew(lease, leaseDuration, clock)),
      options,
    );
  }

  /**
   * R6: releases the record if it still names this holder, and changes no other record. Failures are
   * reported and retried until `giveUpAt`; never rejects.
   */
  async release(ending: Ending): Promise<void> {
    const { context, local, lock } = this;
    const { identity } = ending;
    let { remove = false } = ending;
    const place: KeptPlace = {};
    const attempt = async (failures: number): Promise<void> => {
      let lease = local.observed.lease;
      if (failures > 0 || !isHeldBy(lease, identity)) {
        lease = await local.read(lastRequest(this.context));
      }
      if (!isHeldBy(lease, identity)) {
        return;
      }
      if (!(await this.writeEnd(lease, { ...ending, remove }, place))) {
        remove = false;
        await attempt(1);
      }
    };
    const delayAfter = (
      error: LeaseStoreError,
      failures: number,
    ): number | undefined => {
      if (remove && error.reason === 'forbidden') {
        // Without the right to delete, the Lease is marked free instead.
        reportFailure(context, lock, 'release', error);
        remove = false;
        return 0;
      }
      const { giveUpAt } = ending;
      return delayOfRetry(context, lock, error, { failures, giveUpAt });
    };
    const { clock, closed } = context;
    await retryWrite(clock, closed, attempt, delayAfter).catch(() => undefined);
    this.keepPlace(place);
  }

  /**
   * R6, R9, R11, A1: grants the lock to the first in line, else frees the record, keeps it taken for the rest of
   * `minHold`, or deletes the Lease if `remove` is set.
   *
   * @returns false if the deleted Lease still exists
   */
  private async writeEnd(
    found: StoredLease,
    {
      takenUntil = 0,
      claim = 'open',
      remove,
      courtesy = false,
      placeFor,
    }: Ending,
    place: KeptPlace,
  ): Promise<boolean> {
    const { local } = this;
    const { clock } = this.context;
    const lease = endClaim(found, claim);
    const [first] = lineOf(found);
    if (takenUntil > clock.now()) {
      const rest = (): number => Math.max(1, takenUntil - clock.now());
      await local.replace(
        () => retain(lease, rest(), clock),
        lastRequest(this.context),
      );
      return true;
    }
    if (first !== undefined && local.place.isPermitted && !courtesy) {
      await this.grant(found, lease, first, placeFor, place);
      return true;
    }
    // A Lease with finalizers would stay after the deletion, and still name its holder.
    if (
      remove &&
      first === undefined &&
      readClaim(found) === undefined &&
      !hasFinalizers(found)
    ) {
      return local.delete(lease, lastRequest(this.context));
    }
    const free = (): StoredLease =>
      courtesy ? leaveFree(release(lease)) : release(lease);
    await this.change('release', found, free, lastRequest(this.context));
    local.courtesy.released(courtesy);
    return true;
  }

  /** R11: passes the lock on to `first`, and adds the next place of this process to the line. */
  private async grant(
    found: StoredLease,
    lease: StoredLease,
    first: Ticket,
    placeFor: number | undefined,
    place: KeptPlace,
  ): Promise<void> {
    const { clock } = this.context;
    const terms = {
      ticket: first,
      lockName: this.lock.name,
      duration: Math.min(GRANT_DURATION, first.seconds * 1_000),
      inRow: Math.max(this.local.courtesy.inRow, grantOf(found)?.inRow ?? 0),
    };
    if (placeFor !== undefined && this.local.place.findRoomToStay(found)) {
      place.ticket ??= this.newTicket(found, placeFor);
    }
    const make = (): StoredLease => {
      const granted = grant(lease, terms, clock);
      if (!this.local.place.isPermitted) {
        place.ticket = undefined; // it could not be withdrawn
      }
      return place.ticket
        ? annotate(granted, ticketAnnotation(place.ticket))
        : granted;
    };
    try {
      await this.change('release', found, make, lastRequest(this.context));
    } catch (error) {
      place.isUncertain ||= error instanceof LeaseStoreError && error.ambiguous;
      if (!place.isUncertain) {
        place.ticket = undefined;
      }
      throw error;
    }
  }

  /** R11: uses the place that a release has kept, unless it is not known to be there, or the process has another one. */
  private keepPlace({ ticket }: KeptPlace): void {
    const { observed, place } = this.local;
    if (ticket === undefined) {
      return;
    }
    if (observed.lease && place.use(ticket, observed.lease)) {
      this.awaitCaller();
    } else {
      this.context.background(this.withdraw(ticket));
    }
  }

  /**
   * R12: lets the record of this holder expire by itself, although its session goes on: the lock was lost while
   * its work still runs. Never rejects.
   */
  async leaveSession(identity: string, leaseDuration: number): Promise<void> {
    const { local } = this;
    const { clock } = this.context;
    const attempt = async (): Promise<void> => {
      const lease = await local.read(lastRequest(this.context));
      if (isHeldBy(lease, identity) && sessionOf(lease)) {
        await this.change(
          'renew',
          lease,
          () => leaveSession(lease, leaseDuration, clock),
          lastRequest(this.context),
        );
      }
    };
    await retryUntil(this.context, this.lock, Infinity, attempt);
  }

  /**
   * R6: evicts the holder that the first read shows, or this one.
   *
   * @returns the record before; undefined if it was free, or changed hands meanwhile
   * @throws LeaseStoreError, LockBackendError
   */
  async evict(holder?: string): Promise<StoredLease | undefined> {
    const { clock, closed } = this.context;
    let evicted = holder;
    const attempt = async (): Promise<StoredLease | undefined> => {
      const lease = await this.local.read(lastRequest(this.context));
      const refusal = findRefusal(this.lock, lease);
      if (refusal) {
        throw refusal;
      }
      const state = lease ? readHolder(lease) : undefined;
      if (
        !lease ||
        !state?.held ||
        (evicted ?? state.holder) !== state.holder
      ) {
        return undefined;
      }
      evicted = state.holder;
      await this.local.replace(() => evict(lease), lastRequest(this.context));
      return lease;
    };
    return retryWrite(clock, closed, attempt, (error, failures) => {
      if (error.reason !== 'conflict' || failures >= MOST_FORCED_TRIES) {
        return undefined;
      }
      return isFirstConflict(error, failures)
        ? 0
        : backoff(clock, failures, 1_000);
    });
  }
}

/**
 * R7: a creation without an answer may still be applied while the Lease does not exist, up to 34 s later,
 * and no comparison can prevent it. It must not leave behind a taken lock that never expires: such a lock
 * is created free, and the next write takes it. Under a session, `FailedWrites.undoLater` frees it.
 */
function newRecord(key: LeaseKey, newHolder: NewHolder, clock: Clock): Lease {
  return newHolder.leaseDuration === Infinity && !newHolder.session
    ? createFree(key)
    : createTaken(key, newHolder, clock);
}
