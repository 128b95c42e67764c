/**
 * Acquires a lock in these steps:
 *
 * 1. Wait for the turn in this process (one queue per lock; only its head continues).
 * 2. Read the record, unless the cached copy is current: written by this process, or watched.
 * 3. Refuse a record that coordinated leader election owns (R10), and a fire that another call has
 *    claimed.
 * 4. Judge the record (R4, R5), and end the session of its holder if that has expired (R12). If it is held:
 *    give up, or enrol in the line of waiting processes (R11), and wait for a change, the expiry of the record
 *    or the next poll; then repeat step 4. The lock is held if its holder has granted it to this process.
 * 5. If it is free, expired or missing, and this process is the first in line, or nobody is, and it can renew
 *    one more lock (admission.ts): write the identity of this acquisition (R7) and its fire claim by
 *    compare-and-swap (R1).
 * 6. On success the lock is held from the time at which the write was SENT (R8).
 * 7. On a conflict another client wrote first: back to 2. If the record shows that none did, the conflict
 *    is a failure: step 9.
 * 8. If the outcome is unknown, or the answer came after the deadline: step 9, then 2. If the record then
 *    names this identity, the write was applied, and step 5 writes again to get a known deadline. If that
 *    fails in the same way, or this acquisition ends before, the write is undone, so that the lock does not
 *    stay taken without a holder.
 * 9. On any failure: report it and retry later (2) while there is time, unless a retry can't succeed.
 */
import {
  LeaseStoreError,
  type RequestOptions,
  type RequestPriority,
  type StoredLease,
} from '../../kube/lease-store.js';
import { renewalsOf, type Permit } from '../admission.js';
import type { ResolvedLockOptions } from '../../k8s-lock.options.js';
import { LockNotAcquiredError, type LockReference } from '../../lock.errors.js';
import { onAbort, untilAborted } from '../abort-signals.js';
import { FireClaimedError, type FireClaim } from '../record/fire-claim.js';
import { deadlineOf, timingOf } from '../hold/deadline.js';
import type { HeldSession, SessionOpener } from '../hold/held-session.js';
import type { AcquiredLease } from '../hold/lease-holder.js';
import type { LocalLease } from '../lease/local-lease.js';
import {
  reportFailure,
  toBackendError,
  type EngineContext,
} from '../engine-context.js';
import { backoff, retryAfterOf, isFinal, pause } from '../retry.js';
import { heldSince } from '../record/lock-state.js';
import type { Verdict } from '../record/observed-lease.js';
import { admit, saturated } from './admit.js';
import { WaitPolicy, type AcquireMode } from './wait-policy.js';
import { comparedContent } from '../record/lease-patch.js';
import { grantOf, isLeftFree, lineOf } from '../record/line.js';
import { COURTESY } from '../lease/courtesy.js';
import {
  isCoordinated,
  isForeign,
  isHeldBy,
  newHolderIdentity,
  readHolder,
  type NewHolder,
  refuseCoordinated,
  refuseTerminating,
  refuseMissing,
} from '../record/lease-record.js';
import { LeaseWriter, type WrittenLease } from '../lease/lease-writer.js';
import {
  judgeFromBehind,
  waitInQueue,
  type QueuedCall,
} from './queued-call.js';

/** After this many conflicts a call that does not wait treats the lock as held by others. */
const MOST_CONFLICTS = 8;
/** The longest pause that separates contenders after a conflict, in milliseconds. */
const LONGEST_SPREAD = 500;
/** How long the next in line waits for each process before it, in milliseconds. */
const STAGGER = 100;
/** A ticket that no record has shown after this time is sent again, in milliseconds. */
const TICKET_LANDS = 1_000;
/** A record that was observed longer ago gives no place in line, in milliseconds. */
const FRESH = 1_000;
/** The slowest poll of a process in line, in retry intervals. */
const SLOWEST_POLL = 5;
/** R11: a granted lock with less time left, or a smaller part of its grant, is confirmed before the work starts. */
const LEAST_TIME_LEFT = 500;
const LEAST_PART_LEFT = 0.25;

type Acquisition = Omit<AcquiredLease, 'permit'>;

export class Acquirer implements QueuedCall {
  private newHolder: NewHolder;
  readonly policy: WaitPolicy;
  private readonly writer: LeaseWriter;
  private readonly cancel = new AbortController();
  private stopWatching: ((linger?: boolean) => void) | undefined;
  private hasWaited = false;
  /** Whether the call waits until this process can renew one more lock. */
  private isHeldBack = false;
  /** From the admission of an attempt to its end, or to the acquisition. */
  private permit: Permit | undefined;
  private mustRead = false;
  /** Monotonic time of the last read, and the random length of a poll interval after it. */
  private readAt = -Infinity;
  private pollInterval = 0;
  private failures = 0;
  private conflicts = 0;
  private mayBeCreatedLate = false;
  /** The last write that met a conflict: the resourceVersion on which it was based, and the error. */
  private conflict:
    { basedOn: string | undefined; error: LeaseStoreError } | undefined;
  /** A write with an unknown outcome, which may leave the record taken: what it compares (see `comparedContent`). */
  private ambiguous: { basedOn: string | undefined } | undefined;
  /** The number of such writes in a row. */
  private timesAmbiguous = 0;

  constructor(
    private readonly context: EngineContext,
    private readonly local: LocalLease,
    readonly lock: LockReference,
    readonly options: ResolvedLockOptions,
    private readonly mode: AcquireMode,
    private readonly renewal: {
      /** R12: opens the session under which the lock is to be held; undefined = the lock is renewed itself. */
      readonly sessions?: SessionOpener;
      /** Whether the Lease is itself a session. */
      readonly isSession?: boolean;
    } = {},
    private readonly claim?: FireClaim,
  ) {
    const { waitTimeout, leaseDuration, permits } = options;
    const identity = newHolderIdentity(context.clientId);
    this.newHolder = {
      identity,
      leaseDuration,
      lockName: lock.name,
      claimed: claim?.at,
      isSession: renewal.isSession,
      permits,
    };
    claim?.ownIdentities.add(identity);
    this.writer = new LeaseWriter(context, local, lock);
    this.policy = new WaitPolicy(context.clock, local.observed, {
      identity,
      mode,
      waitTimeout,
      claim,
    });
  }

  /** Ends the acquisition because the application is closing. */
  close(): void {
    const verdict = this.policy.isFollowing && this.policy.claimVerdict;
    const isAtWork =
      verdict && (verdict.state === 'running' || verdict.state === 'taken');
    const reason = isAtWork
      ? new FireClaimedError(verdict)
      : new LockNotAcquiredError(this.lock, 'shutdown');
    this.stop(reason);
  }

  /** Ends the acquisition with this error, at any moment. */
  stop(reason: unknown): void {
    this.cancel.abort(reason);
  }

  /**
   * Acquires the lock. Keeps the turn on success; the caller ends it.
   *
   * @throws LockNotAcquiredError, LockBackendError, FireClaimedError, or the signal's reason
   */
  async run(signal?: AbortSignal): Promise<AcquiredLease> {
    const { waitTimeout } = this.options;
    const { clock } = this.context;
    if (signal?.aborted) {
      this.stop(signal.reason);
    }
    const stopListening =
      signal && onAbort(signal, () => this.stop(signal.reason));
    const cancelTimeout =
      this.policy.waits && waitTimeout !== undefined
        ? clock.schedule(clock.now() + waitTimeout, () => this.timeIsUp())
        : undefined;
    try {
      await waitInQueue(this.local, this, this.context, this.cancel.signal);
      this.local.beginTurn();
      this.usePlace();
      try {
        const acquired = await this.contend();
        this.stopWatching?.(true);
        return acquired;
      } catch (error) {
        this.stopWatching?.();
        this.abandon();
        throw error;
      }
    } catch (error) {
      throw this.cancel.signal.aborted ? this.cancel.signal.reason : error;
    } finally {
      cancelTimeout?.();
      stopListening?.();
    }
  }

  /** Milliseconds since the call. */
  get waited(): number {
    return this.context.clock.now() - this.policy.startedAt;
  }

  private async contend(): Promise<AcquiredLease> {
    const { cancel, policy } = this;
    for (;;) {
      try {
        this.returnPermit();
        cancel.signal.throwIfAborted();
        // A call that waits sends nothing while this process can renew no more locks.
        const isUnknown = this.local.observed.lease === undefined;
        if (isUnknown && policy.waits && !(await this.admit())) {
          continue;
        }
        await this.readIfStale();
        policy.refuseClaimed();
        this.checkPlace();
        const { verdict } = policy;
        if (this.mustEnrol(verdict)) {
          if (await this.admit()) {
            await this.enrol();
          }
          continue;
        }
        if (!verdict.takeable) {
          if (!(await this.settleSession(verdict))) {
            await this.waitForChange(verdict);
          }
          continue;
        }
        const holder = policy.giveUpFor(verdict);
        if (holder !== undefined) {
          throw this.notAcquired(holder);
        }
        if (!this.mayUseGrant()) {
          this.passOn();
          continue;
        }
        const record = this.local.observed.lease;
        const acquisition =
          this.startGranted() ??
          ((await this.isOwnTurn(verdict)) && (await this.admit())
            ? await this.write(await this.openSession())
            : undefined);
        if (acquisition !== undefined) {
          this.acquired(verdict, record);
          return { ...acquisition, permit: this.usePermit() };
        }
      } catch (error) {
        await this.recover(error);
      }
    }
  }

  /** Step 2. Re-reads the Lease unless the cached copy is current: written by this process, or kept current by a watch. */
  private async readIfStale(): Promise<void> {
    const { local } = this;
    const { verdict } = this.policy;
    const isKnown =
      local.observed.lease !== undefined &&
      ((local.isWatched && this.mode !== 'try') ||
        this.readAt > -Infinity ||
        (verdict.takeable && !verdict.expired));
    // A refusal, or the copy of a watch that may be dead, must not be trusted without limit. A lease that
    // expires needs no read.
    const isForever = !verdict.takeable && verdict.expiresAt === undefined;
    const isInDoubt = this.readAt === -Infinity && isForever;
    const mustLook = !isKnown && !this.isExpectedToBeNew;
    if (this.mustRead || mustLook || isInDoubt || this.mustRefuse) {
      await this.read();
    }
    const { lease } = local.observed;
    refuseCoordinated(this.lock, lease);
    refuseMissing(this.lock, lease, this.options.createLease);
  }

  /**
   * R12: a process with a session holds many locks. It creates a Lease that it does not know without a look, and is
   * told if the Lease exists.
   */
  private get isExpectedToBeNew(): boolean {
    const { sessions, isSession } = this.renewal;
    return (
      (sessions !== undefined || isSession === true) &&
      this.options.createLease &&
      this.local.observed.lease === undefined
    );
  }

  /** Whether the known record must not be written, even if it is free. */
  private get mustRefuse(): boolean {
    const { lease } = this.local.observed;
    return lease === null
      ? !this.options.createLease
      : lease !== undefined && isCoordinated(lease);
  }

  private async read(): Promise<void> {
    const lease = await this.local.read(this.requestOptions('look'));
    this.wasRead();
    if (
      this.ambiguous &&
      comparedContent(lease) !== this.ambiguous.basedOn &&
      lease?.spec?.holderIdentity !== this.newHolder.identity
    ) {
      this.ambiguous = undefined; // another write came first, so it can't be applied any more
    }
    this.checkConflict(lease);
  }

  private wasRead(readAt = this.context.clock.now()): void {
    const { clock } = this.context;
    this.mustRead = false;
    this.readAt = readAt;
    this.pollInterval =
      this.options.retryInterval * (0.8 + clock.random() * 0.4);
  }

  /** Those far from the front of the line poll less often. */
  private get pollAt(): number {
    const { observed, place } = this.local;
    const position = observed.lease && place.positionIn(observed.lease);
    const intervals = Math.min(1 + (position ?? 0), SLOWEST_POLL);
    return this.readAt + this.pollInterval * intervals;
  }

  /** Step 7. @throws LeaseStoreError if the record does not show that another client wrote first */
  private checkConflict(lease: StoredLease | null): void {
    const { conflict, newHolder } = this;
    this.conflict = undefined;
    const version = lease?.metadata.resourceVersion;
    // Unless the lock was granted to it in between.
    const isOurs =
      isHeldBy(lease, newHolder.identity) && grantOf(lease) === undefined;
    // After a conflict of a creation the Lease may have been deleted again. Without the word of the API
    // server that it existed, not every time: a 409 also comes from a quota or an admission webhook.
    const isExplained =
      version === undefined &&
      (conflict?.error.alreadyExists || this.conflicts < MOST_CONFLICTS);
    const isUnchanged = version === conflict?.basedOn && !isExplained;
    if (conflict && (isOurs || isUnchanged)) {
      if (isOurs) {
        this.leaveAmbiguous(lease);
      }
      throw conflict.error;
    }
  }

  private leaveAmbiguous(lease: StoredLease | null | undefined): void {
    this.ambiguous = { basedOn: comparedContent(lease) };
    this.timesAmbiguous += 1;
  }

  /** Step 4: the lock is taken. */
  private async waitForChange(
    verdict: Verdict & { takeable: false },
  ): Promise<void> {
    const { clock } = this.context;
    const { policy } = this;
    const { expiresAt = Infinity, holder } = verdict;
    if (!policy.goOnFor(verdict)) {
      throw this.notAcquired(holder);
    }
    this.returnPermit();
    this.waiting();
    this.local.metHolder();
    this.failures = 0;
    this.stopWatching ??= this.local.keepWatched();
    const { ticket } = this.local.place;
    const pollAt = policy.isQuiet ? Infinity : this.pollAt;
    const until = Math.min(
      expiresAt,
      pollAt,
      ticket && !ticket.hasLanded ? ticket.sentAt + TICKET_LANDS : Infinity,
    );
    await this.local.changeOrTime(
      until - clock.now(),
      this.cancel.signal,
      (lease) => this.concerns(lease, until),
    );
    this.local.courtesy.metOthers();
    if (clock.now() >= pollAt) {
      this.mustRead = true;
    }
  }

  /**
   * Whether a call in line that sleeps until this monotonic time must look at the record: it is not just another turn
   * of others, or that turn may end before.
   */
  private concerns(lease: StoredLease, until: number): boolean {
    const { place } = this.local;
    const { verdict } = this.policy;
    return (
      this.claim !== undefined ||
      verdict.takeable ||
      (verdict.expiresAt ?? Infinity) < until ||
      !place.waitsIn(lease) ||
      isForeign(lease)
    );
  }

  /** Step 4: uses the place in line that this process may have. */
  private usePlace(): void {
    const { place } = this.local;
    place.callBegins();
    if (place.ticket !== undefined) {
      this.useIdentity(place.ticket.identity);
      this.wasRead(place.ticket.sentAt);
    }
  }

  private useIdentity(identity: string): void {
    this.newHolder = { ...this.newHolder, identity };
    this.policy.identity = identity;
    this.claim?.ownIdentities.add(identity);
  }

  /**
   * R7, R11: gives up the identity of a ticket that is not in line any more. The lock may have been granted to it,
   * and the grant may have lapsed, before this process could see it.
   */
  private checkPlace(): void {
    const { context, local, policy, writer } = this;
    const { observed, place } = local;
    const { ticket } = place;
    if (
      ticket === undefined ||
      this.ambiguous !== undefined ||
      (observed.lease && place.standsIn(observed.lease))
    ) {
      return;
    }
    const mayLand =
      !ticket.hasLanded && context.clock.now() < ticket.sentAt + TICKET_LANDS;
    if (!mayLand || policy.verdict.takeable) {
      writer.loseTicket();
      this.useIdentity(writer.newIdentity());
    }
  }

  /**
   * R11: whether this process needs a place in line, as the lock is held, or others are in line. Nobody enrols under
   * a holder that does not know the line: the release of some of these fails when the record has changed.
   */
  private mustEnrol(verdict: Verdict): boolean {
    const { place, observed } = this.local;
    const { lease } = observed;
    if (
      !lease ||
      !this.policy.mayEnrol ||
      !place.isPermitted ||
      place.ticket !== undefined ||
      this.ambiguous !== undefined ||
      isForeign(lease)
    ) {
      return false;
    }
    const isNeeded =
      !verdict.takeable || (!isOwn(verdict) && place.hasOthers(lease));
    return isNeeded && place.hasRoom(lease);
  }

  /** Step 4. */
  private async enrol(): Promise<void> {
    const { context, local, options, writer } = this;
    const { observed, place } = local;
    if (context.clock.now() - observed.lastLook >= FRESH) {
      await this.read();
      return;
    }
    this.waiting();
    this.stopWatching ??= local.keepWatched();
    const ticket = writer.newTicket(observed.lease!, options.leaseDuration);
    place.ticket = ticket;
    this.useIdentity(ticket.identity);
    try {
      await local.enrol(ticket, this.requestOptions('acquire'));
      this.wasRead();
    } catch (error) {
      if (!(error instanceof LeaseStoreError) || error.ambiguous) {
        throw error;
      }
      place.ticket = undefined;
      await this.enrolmentFailed(error);
    }
  }

  /** @throws LeaseStoreError unless another attempt makes sense at once */
  private async enrolmentFailed(error: LeaseStoreError): Promise<void> {
    const { context, lock, cancel } = this;
    if (error.reason === 'forbidden') {
      reportFailure(context, lock, 'acquire', error);
      return;
    }
    if (error.reason !== 'conflict' && error.reason !== 'not-found') {
      throw error;
    }
    this.mustRead = true;
    this.conflicts += 1;
    await pause(context.clock, this.spread, cancel.signal);
  }

  /** R11: gives up a lock that was granted to this process, and goes back to the end of the line. */
  private passOn(): void {
    this.writer.leaveLine();
    this.useIdentity(this.writer.newIdentity());
  }

  /**
   * Step 4, R11: the lock that was granted to this process. Its deadline counts from a time before the grant was
   * written: nobody could name the identity before its ticket was sent, and a later read has shown an older record.
   *
   * @returns undefined if there is no grant, or if it must be confirmed first
   */
  private startGranted(): Acquisition | undefined {
    const { context, local, newHolder, options } = this;
    const { lease } = local.observed;
    const { ticket } = local.place;
    const { identity, claimed } = newHolder;
    if (
      ticket?.identity !== identity ||
      !isHeldBy(lease, identity) ||
      this.ambiguous !== undefined ||
      claimed !== undefined ||
      !options.autoRenew ||
      options.leaseDuration === Infinity ||
      this.renewal.sessions !== undefined
    ) {
      return undefined;
    }
    const state = readHolder(lease);
    const duration = (state.held && state.duration) || 0;
    const { aliveAt } = local.observed.judge(identity);
    const sentAt = Math.max(ticket.sentAt, aliveAt);
    const deadline = deadlineOf(sentAt, timingOf(duration, options));
    const least = Math.min(LEAST_TIME_LEFT, duration * LEAST_PART_LEFT);
    // A renewal would shorten a grant that an earlier call of this process has enrolled for, and its answer may be lost.
    const isLonger = duration > options.leaseDuration;
    return !isLonger && deadline - context.clock.now() >= least
      ? {
          identity,
          lease,
          sentAt,
          duration,
          claimed,
          mayBeCreatedLate: this.mayBeCreatedLate,
        }
      : undefined;
  }

  /** Step 5: whether nobody is in line before this process; waits for its turn. */
  private async isOwnTurn(
    verdict: Verdict & { takeable: true },
  ): Promise<boolean> {
    const { local, cancel } = this;
    const { clock } = this.context;
    const left = this.turnAt(verdict) - clock.now();
    if (left > 0) {
      await local.changeOrTime(left, cancel.signal);
      return false;
    }
    // A first conflict without a wait before it only means that the cached copy was old.
    const isInLine = local.place.ticket !== undefined; // where turns separate contenders
    if (!isInLine && this.conflicts > (this.hasWaited ? 0 : 1)) {
      await pause(clock, this.spread, cancel.signal);
    }
    return true;
  }

  /** The monotonic time from which this process may take a free or expired lock. */
  private turnAt(verdict: Verdict & { takeable: true }): number {
    const { observed, place, courtesy } = this.local;
    const { lease } = observed;
    if (!lease || isOwn(verdict) || !this.policy.waits) {
      return -Infinity;
    }
    const position =
      place.positionIn(lease) ?? (place.isPermitted ? lineOf(lease).length : 0);
    const open = place.isPermitted && isLeftFree(lease) ? COURTESY : 0;
    const turn = verdict.since + open + position * Math.max(STAGGER, open);
    return Math.max(courtesy.freeUntil, position > 0 || open > 0 ? turn : 0);
  }

  /** A random pause that separates contenders, which grows with each conflict. */
  private get spread(): number {
    const widest = Math.min(5 * 2 ** this.conflicts, LONGEST_SPREAD);
    return this.context.clock.random() * widest;
  }

  /** @param record the record from which the lock was acquired */
  private acquired(
    verdict: Verdict & { takeable: true },
    record: StoredLease | null | undefined,
  ): void {
    const { place, courtesy } = this.local;
    const granted = record && grantOf(record);
    place.leave();
    courtesy.acquired(
      isOwn(verdict) ? (granted?.inRow ?? courtesy.inRow) : undefined,
    );
    this.local.endHandover = undefined;
  }

  /** Step 4. @returns whether the record is to be judged again */
  private settleSession({
    session,
  }: Verdict & { takeable: false }): Promise<boolean> | undefined {
    return session?.settle(this.policy.startedAt, this.cancel.signal);
  }

  private openSession(): Promise<HeldSession | undefined> | undefined {
    const { sessions } = this.renewal;
    return sessions && untilAborted(sessions.open(), this.cancel.signal);
  }

  /** The renewals a second that the lock will need: none under a session, which itself is never held back. */
  get renewals(): number {
    const { sessions, isSession } = this.renewal;
    return sessions || isSession ? 0 : renewalsOf(this.options);
  }

  /** Waits until this process can renew one more lock. @returns false if the record has changed meanwhile */
  private async admit(): Promise<boolean> {
    const { signal } = this.cancel;
    this.isHeldBack = true;
    try {
      this.permit ??= await admit(this.context, this.local, this, signal);
      return this.permit !== undefined;
    } finally {
      this.isHeldBack = false;
    }
  }

  /** R11: whether this process can renew the lock, if that was granted to it. A grant does not wait. */
  private mayUseGrant(): boolean {
    const { context, local, newHolder, renewals } = this;
    const { admission } = context;
    if (!isHeldBy(local.observed.lease, newHolder.identity)) {
      return true;
    }
    // A write of this call may have taken the lock, and is not passed on.
    this.permit ??=
      this.ambiguous === undefined
        ? admission.tryAdmit(renewals)
        : admission.enter(renewals);
    return this.permit !== undefined;
  }

  private usePermit(): Permit {
    const permit = this.permit!;
    this.permit = undefined;
    permit.used();
    return permit;
  }

  private returnPermit(): void {
    this.permit?.end();
    this.permit = undefined;
  }

  /** Steps 5 to 8. Undefined: read again. */
  private async write(
    session: HeldSession | undefined,
  ): Promise<Acquisition | undefined> {
    const { local } = this;
    const newHolder = session
      ? {
          ...this.newHolder,
          leaseDuration: Infinity,
          session: session.reference,
        }
      : this.newHolder;
    // The record may have changed since it was judged, and the write must compare with the judged record.
    // So it is judged again here: the write below takes the same record synchronously, even if it is sent later.
    if (!local.observed.judge(newHolder.identity).takeable) {
      return undefined;
    }
    this.policy.refuseClaimed();
    const lease = local.observed.lease ?? undefined;
    refuseTerminating(this.lock, lease);
    this.refuseEnded(lease);
    let written: WrittenLease;
    try {
      written = await this.writer.acquire(
        newHolder,
        this.requestOptions('acquire'),
      );
      this.refuseLate(written.sentAt, session);
    } catch (error) {
      if (!(error instanceof LeaseStoreError)) {
        throw error;
      }
      this.mustRead = true;
      const basedOn = lease?.metadata.resourceVersion;
      if (error.ambiguous) {
        this.leaveAmbiguous(lease);
        this.mayBeCreatedLate ||= lease === undefined;
        if (session && lease === undefined) {
          this.writer.undoLater(newHolder.identity);
        }
      }
      const isOvertaken =
        error.reason === 'conflict' ||
        (error.reason === 'not-found' && lease !== undefined);
      if (!isOvertaken) {
        throw error;
      }
      this.conflict = { basedOn, error };
      this.conflicts += 1;
      if (!this.policy.waits && this.conflicts > MOST_CONFLICTS) {
        throw this.notAcquired();
      }
      return undefined;
    }
    if (written.lease.spec?.holderIdentity !== newHolder.identity) {
      return undefined; // the Lease was created free; the next write takes it
    }
    return {
      identity: newHolder.identity,
      duration: this.options.leaseDuration,
      ...written,
      mayBeCreatedLate: this.mayBeCreatedLate,
      claimed: newHolder.claimed,
      session,
    };
  }

  /** R12: a session without a holder never gets one, since to others it has ended. @throws LockNotAcquiredError */
  private refuseEnded(lease: StoredLease | undefined): void {
    const { identity, isSession } = this.newHolder;
    if (isSession && lease && !isHeldBy(lease, identity)) {
      throw this.notAcquired();
    }
  }

  /**
   * R8: refuses an answer that came after the deadline, which counts from the request; R12: or after the loss of the
   * session. @throws LeaseStoreError
   */
  private refuseLate(sentAt: number, session: HeldSession | undefined): void {
    const now = this.context.clock.now();
    if (session) {
      if (!session.isHeld) {
        throw new LeaseStoreError(
          'timeout',
          `The lock can't be held: the session of this process, Lease ${session.reference.name}, was lost before the API server answered.`,
          { ambiguous: true },
        );
      }
      return;
    }
    const deadline = deadlineOf(sentAt, this.options);
    if (now >= deadline) {
      throw new LeaseStoreError(
        'timeout',
        `The lock can't be held: the API server took ${Math.round(now - sentAt)} ms to answer, which is longer than the ${deadline - sentAt} ms to the deadline of a holder (leaseDuration - safetyMargin). Use a longer leaseDuration.`,
        { ambiguous: true },
      );
    }
  }

  /** Step 9: pauses before the next read, which shows whether a failed write was applied (R7). Throws if cancelled. */
  private async recover(error: unknown): Promise<void> {
    this.returnPermit();
    this.cancel.signal.throwIfAborted();
    if (!(error instanceof LeaseStoreError)) {
      throw error;
    }
    this.local.fail(error);
    const { timeLeft, waits } = this.policy;
    const mayTryAgain =
      !isFinal(error) &&
      (waits ||
        timeLeft > 0 ||
        // One more read shows whether the write was applied.
        (error.ambiguous && this.failures === 0));
    if (!mayTryAgain) {
      throw toBackendError(error, this.lock);
    }
    this.failures += 1;
    this.mustRead = true;
    reportFailure(this.context, this.lock, 'acquire', error);
    if (this.timesAmbiguous > 1) {
      await untilAborted(this.withdraw(), this.cancel.signal);
    }
    const { clock } = this.context;
    const delay = Math.max(
      backoff(clock, this.failures),
      retryAfterOf(error, timeLeft),
    );
    await pause(clock, delay, this.cancel.signal);
  }

  /** Ends the turn without the lock. */
  private abandon(): void {
    const { local, writer } = this;
    // The next caller may use the place, unless a write under its identity may still be applied.
    if (this.ambiguous !== undefined || !local.queue.hasWaiters) {
      writer.leaveLine();
    }
    void this.withdraw();
    local.leave();
  }

  /** Undoes a write of this acquisition that may leave the record taken. */
  private withdraw(): Promise<void> {
    const { ambiguous } = this;
    this.ambiguous = undefined;
    this.timesAmbiguous = 0;
    if (ambiguous === undefined) {
      return Promise.resolve();
    }
    const { identity } = this.newHolder;
    const withdrawn = this.renewal.isSession
      ? this.writer.forgetSession(identity)
      : this.writer.undo({
          identity,
          basedOn: ambiguous.basedOn,
          leaseDuration: this.renewal.sessions
            ? Infinity
            : this.options.leaseDuration,
        });
    this.context.background(withdrawn);
    return withdrawn;
  }

  waiting(): void {
    if (!this.hasWaited) {
      this.hasWaited = true;
      this.context.emit({ type: 'waiting', ...this.lock });
    }
  }

  notAcquired(holder?: string): LockNotAcquiredError {
    const isTimeout = this.mode === 'wait';
    return new LockNotAcquiredError(this.lock, isTimeout ? 'timeout' : 'held', {
      holder,
      isOwnProcess: holder !== undefined && holder === this.local.holder,
      since: heldSince(this.local.observed.lease),
      waited: this.waited,
      retryInterval: this.options.retryInterval,
    });
  }

  private timeIsUp(): void {
    const verdict = this.policy.verdict;
    if (!this.isHeldBack && this.policy.endWait(verdict)) {
      judgeFromBehind(this.local, this);
    } else {
      this.stop(this.outOfTime());
    }
  }

  outOfTime(): unknown {
    const { context, local, policy } = this;
    const { verdict } = policy;
    const { saturation } = context.admission;
    if (this.isHeldBack && saturation) {
      return saturated(this.lock, this.options, saturation);
    }
    if (local.holder !== undefined) {
      return this.notAcquired(local.holder);
    }
    if (local.failure !== undefined) {
      return toBackendError(local.failure, this.lock);
    }
    if (!verdict.takeable) {
      return this.notAcquired(verdict.holder);
    }
    return local.isAsking || this.isHeldBack
      ? toBackendError(
          new LeaseStoreError(
            'timeout',
            `no holder is known, and the API server did not answer within ${Math.round(this.waited)} ms.`,
          ),
          this.lock,
        )
      : this.notAcquired();
  }

  private requestOptions(priority: RequestPriority): RequestOptions {
    return {
      signal: this.cancel.signal,
      timeout: this.context.requestTimeout,
      priority,
    };
  }
}

/** Whether the record names the caller itself, or a caller of this process that has ended. */
function isOwn(verdict: Verdict & { takeable: true }): boolean {
  return !verdict.free && !verdict.expired;
}
