/**
 * Acquires a lock in these steps:
 *
 * 1. Wait for the turn in this process (acquire-call.ts; one queue per lock, and only its head continues).
 * 2. Read the record, unless the cached copy is current: written by this process, or watched.
 * 3. Refuse a record that coordinated leader election owns (R10), and a fire that another call has
 *    claimed. A fire whose holder has not begun it, or may fail, is followed: that decides how step 4 waits.
 * 4. Judge the record (R4, R5), and end the session of its holder if that has expired (R12). If it is held:
 *    give up, or enrol in the line of waiting processes (R11, waiting-in-line.ts), and wait for a change, the
 *    expiry of the record or the next poll; then repeat step 4. The lock is held if its holder has granted it
 *    to this process.
 * 5. If it is free, expired or missing, and this process is the first in line, or nobody is, and it can renew
 *    one more lock (admit.ts): write the identity of this acquisition (R7) and its fire claim by
 *    compare-and-swap (R1).
 * 6. On success the lock is held from the time at which the write was SENT (R8).
 * 7. On a conflict another client wrote first: back to 2. If the record shows that none did, the conflict
 *    is a failure (failed-writes.ts): step 9.
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
import type { LockBackendError } from '../../lock.errors.js';
import { untilAborted } from '../abort-signals.js';
import { renewalsOf } from '../admission.js';
import {
  reportFailure,
  toBackendError,
  type EngineContext,
} from '../engine-context.js';
import { deadlineOf } from '../hold/deadline.js';
import type { HeldSession } from '../hold/held-session.js';
import type { AcquiredLease } from '../hold/lease-holder.js';
import { LeaseWriter } from '../lease/lease-writer.js';
import type { LocalLease } from '../lease/local-lease.js';
import {
  findRefusal,
  isHeldBy,
  refuseTerminating,
} from '../record/lease-record.js';
import type { Verdict } from '../record/observed-lease.js';
import { backoff, isFinal, pause, randomized, retryAfterOf } from '../retry.js';
import type { AcquireCall, Renewal } from './acquire-call.js';
import { CallAdmission } from './admit.js';
import { FailedWrites, MOST_CONFLICTS } from './failed-writes.js';
import { WaitingInLine } from './waiting-in-line.js';

/** A read that takes longer, in milliseconds, can mean that a crowd contends for the lock. */
const SLOW = 20;
/** A call that finds itself in such a crowd is overtaken so often at most. */
const MOST_OVERTAKINGS = 8;
/** Such a crowd is spread over the time of that read, doubled for each time, or so many milliseconds at most. */
const LONGEST_SPREAD_OF_CROWD = 2_000;
/** The longest pause that separates contenders after a conflict, in milliseconds. */
const LONGEST_SPREAD = 500;

/** The lock as it was granted, or taken by a write. */
type Taken = Pick<
  AcquiredLease,
  'lease' | 'sentAt' | 'grantDuration' | 'session'
>;

export class Acquirer {
  private readonly writer: LeaseWriter;
  private readonly line: WaitingInLine;
  private readonly admission: CallAdmission;
  /** Undefined = none has failed. */
  private failedWrites: FailedWrites | undefined;
  private stopWatching: ((linger?: boolean) => void) | undefined;
  private mustRead = false;
  /** Monotonic time of the last read, and the random length of a poll interval after it. */
  private readAt = -Infinity;
  private pollInterval = 0;
  /** How long the last read took, in milliseconds. */
  private answerTime = 0;
  /** How often an enrolment was overtaken that named the version which it had seen. */
  private overtakings = 0;
  /** The number of failures since the call last met a holder. */
  private failures = 0;

  constructor(
    private readonly context: EngineContext,
    private readonly local: LocalLease,
    private readonly call: AcquireCall,
    private readonly renewal: Renewal = {},
  ) {
    const { lock, options } = call;
    const { sessions, isSession } = renewal;
    // A session itself is never held back.
    const renewals = sessions || isSession ? 0 : renewalsOf(options);
    this.writer = new LeaseWriter(context, local, lock);
    this.line = new WaitingInLine(context, local, call, this.writer);
    this.admission = new CallAdmission(context, local, call, renewals);
  }

  /**
   * Acquires the lock. Keeps the turn on success; the caller ends it.
   *
   * @throws LockNotAcquiredError, LockBackendError, FireClaimedError, or the signal's reason
   */
  async run(signal?: AbortSignal): Promise<AcquiredLease> {
    const { call, local } = this;
    const stopLimiting = call.limit(signal);
    try {
      await call.waitForTurn();
      local.beginTurn();
      const lookedAt = this.line.usePlace();
      if (lookedAt !== undefined) {
        this.wasRead(lookedAt);
      }
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
      throw call.signal.aborted ? call.signal.reason : error;
    } finally {
      stopLimiting();
    }
  }

  /** Steps 2 to 9. */
  private async contend(): Promise<AcquiredLease> {
    const { admission, call, line, local } = this;
    const { policy, signal } = call;
    for (;;) {
      try {
        admission.end();
        signal.throwIfAborted();
        // A call that waits sends nothing while this process can renew no more locks.
        const isUnknown = local.observed.lease === undefined;
        if (isUnknown && policy.waits && !(await admission.admit())) {
          continue;
        }
        await this.readIfStale();
        policy.refuseClaimed();
        const isAmbiguous = this.failedWrites?.isAmbiguous === true;
        if (!isAmbiguous) {
          line.checkPlace();
        }
        const { verdict } = policy;
        if (!isAmbiguous && line.mustEnrol(verdict)) {
          if (await admission.admit()) {
            await this.enrol();
          }
          continue;
        }
        if (!verdict.takeable) {
          const { session } = verdict;
          if (!(await session?.readOrEnd(policy.startedAt, signal))) {
            await this.waitForChange(verdict);
          }
          continue;
        }
        const holder = policy.giveUpFor(verdict);
        if (holder !== undefined) {
          throw call.notAcquired(holder);
        }
        const record = local.observed.lease;
        const isHeld = isHeldBy(record, policy.identity);
        if (isHeld && !admission.admitHeld(isAmbiguous)) {
          line.passOn();
          continue;
        }
        const isGrant = isHeld && !isAmbiguous && !this.mustConfirm;
        const granted = isGrant ? line.startGranted() : undefined;
        const taken =
          granted ??
          ((await this.isOwnTurn(verdict)) && (await admission.admit())
            ? await this.write()
            : undefined);
        if (taken !== undefined) {
          line.acquired(verdict, record);
          local.endHandover = undefined;
          return {
            ...taken,
            identity: policy.identity,
            claimed: call.claim?.at,
            mayBeCreatedLate: this.failedWrites?.mayBeCreatedLate === true,
            permit: admission.use(),
          };
        }
      } catch (error) {
        await this.recover(error);
      }
    }
  }

  /** Step 2. Re-reads the Lease unless the cached copy is current: written by this process, or kept current by a watch. */
  private async readIfStale(): Promise<void> {
    const { call, local } = this;
    const { verdict } = call.policy;
    const isKnown =
      local.observed.lease !== undefined &&
      ((local.isWatched && call.mode !== 'try') ||
        this.readAt > -Infinity ||
        (verdict.takeable && !verdict.expired));
    // A refusal, or the copy of a watch that may be dead, must not be trusted without limit. A lease that
    // expires needs no read.
    const isForever = !verdict.takeable && verdict.expiresAt === undefined;
    const isInDoubt = this.readAt === -Infinity && isForever;
    const mustLook = !isKnown && !this.isExpectedToBeNew;
    if (this.mustRead || mustLook || isInDoubt || this.refusal) {
      const askedAt = this.context.clock.now();
      const read = await local.read(this.requestOptions('look'));
      this.wasRead();
      this.answerTime = this.readAt - askedAt;
      this.failedWrites?.check(read);
    }
    if (this.refusal) {
      throw this.refusal;
    }
  }

  /**
   * R12: a process with a session holds many locks. It creates an unknown Lease without reading it first:
   * a 409 says if it exists.
   */
  private get isExpectedToBeNew(): boolean {
    const { sessions, isSession } = this.renewal;
    return (
      (sessions !== undefined || isSession === true) &&
      this.call.options.createLease &&
      this.local.observed.lease === undefined
    );
  }

  /** Step 3: why the known record must not be written, even if it is free. */
  private get refusal(): LockBackendError | undefined {
    const { lock, options } = this.call;
    return findRefusal(lock, this.local.observed.lease, options.createLease);
  }

  private wasRead(readAt = this.context.clock.now()): void {
    const { clock } = this.context;
    this.mustRead = false;
    this.readAt = readAt;
    this.pollInterval = randomized(clock, this.call.options.retryInterval);
  }

  /** Step 4: enrols in the line. */
  private async enrol(): Promise<void> {
    const { line } = this;
    if (!line.isUpToDate) {
      this.mustRead = true;
      return;
    }
    this.call.waiting();
    const mayBeCrowd =
      (this.answerTime > SLOW || this.overtakings > 0) &&
      this.overtakings < MOST_OVERTAKINGS &&
      line.isLong;
    const outcome = await line.enrol(
      this.requestOptions('acquire'),
      mayBeCrowd,
    );
    if (outcome === 'enrolled') {
      this.wasRead();
    } else if (outcome === 'overtaken') {
      this.mustRead = true;
      this.call.conflicts += 1;
      this.overtakings += mayBeCrowd ? 1 : 0;
      await this.pauseAfterConflict(
        mayBeCrowd
          ? Math.min(
              2 ** this.overtakings * this.answerTime,
              LONGEST_SPREAD_OF_CROWD,
            )
          : undefined,
      );
    }
  }

  /** Step 4, A28: the lock is taken. */
  private async waitForChange(
    verdict: Verdict & { takeable: false },
  ): Promise<void> {
    const { call, line, local } = this;
    const { policy } = call;
    const { clock } = this.context;
    const { expiresAt = Infinity, holder } = verdict;
    if (!policy.goOnFor(verdict)) {
      throw call.notAcquired(holder);
    }
    this.admission.end();
    call.waiting();
    local.metHolder();
    this.failures = 0;
    const { isOutside } = line;
    if (isOutside) {
      this.overtakings = MOST_OVERTAKINGS; // those outside are spread by their polls
      this.stopWatching?.();
      this.stopWatching = undefined;
    } else {
      this.stopWatching ??= local.keepWatched(true);
      local.watchInLine();
    }
    const pollAt =
      policy.isQuiet && local.isTold
        ? Infinity
        : this.readAt + this.pollInterval * line.intervalsOfPoll;
    const { landsBy = Infinity } = line;
    const until = Math.min(expiresAt, pollAt, landsBy);
    await local.changeOrTime(
      until - clock.now(),
      call.signal,
      (lease) => !isOutside && line.concerns(lease, until),
    );
    local.courtesy.metOthers();
    // What seems expired may have been renewed out of sight.
    if (clock.now() >= pollAt || !local.isWatched) {
      this.mustRead = true;
    }
  }

  /** Step 4, R11: whether a lock that was granted to this call is written before it is used. */
  private get mustConfirm(): boolean {
    const { claim, options } = this.call;
    return (
      claim !== undefined ||
      !options.autoRenew ||
      options.leaseDuration === Infinity ||
      this.renewal.sessions !== undefined
    );
  }

  /** Step 5: whether nobody is in line before this process; waits for its turn. */
  private async isOwnTurn(
    verdict: Verdict & { takeable: true },
  ): Promise<boolean> {
    const { call, line, local } = this;
    const left = line.turnAt(verdict) - this.context.clock.now();
    if (left > 0) {
      await local.changeOrTime(left, call.signal);
      return false;
    }
    // A first conflict without a wait before it only means that the cached copy was old.
    const isInLine = local.place.ticket !== undefined; // where turns separate contenders
    if (!isInLine && call.conflicts > (call.hasWaited ? 0 : 1)) {
      await this.pauseAfterConflict();
    }
    return true;
  }

  /** A random pause that separates contenders, which grows with each conflict. */
  private pauseAfterConflict(
    widest = Math.min(5 * 2 ** this.call.conflicts, LONGEST_SPREAD),
  ): Promise<void> {
    const { clock } = this.context;
    return pause(clock, clock.random() * widest, this.call.signal);
  }

  /** Steps 5 to 8. Undefined: read again. */
  private async write(): Promise<Taken | undefined> {
    const { call, context, local, renewal, writer } = this;
    const { lock, options, policy, signal } = call;
    const { identity } = policy;
    const { sessions, isSession } = renewal;
    const session = sessions && (await untilAborted(sessions.open(), signal));
    // The record may have changed since step 3, while this waited for its turn, its admission or a session: another
    // may have run the fire. The write must compare with the judged record, so it is judged here, where it is decided:
    // the write below takes the same record synchronously, even if it is sent later.
    if (!policy.verdict.takeable) {
      return undefined;
    }
    policy.refuseClaimed();
    const lease = local.observed.lease ?? undefined;
    refuseTerminating(lock, lease);
    this.refuseEnded(lease);
    try {
      const written = await writer.acquire(
        {
          identity,
          lockName: lock.name,
          claimed: call.claim?.at,
          leaseDuration: session ? Infinity : options.leaseDuration,
          session: session?.reference,
          isSession,
          permits: options.permits,
        },
        this.requestOptions('acquire'),
      );
      this.refuseLate(written.sentAt, session);
      // A Lease that was created free is taken by the next write.
      return isHeldBy(written.lease, identity)
        ? { ...written, session }
        : undefined;
    } catch (error) {
      if (!(error instanceof LeaseStoreError)) {
        throw error;
      }
      this.mustRead = true;
      this.failedWrites ??= new FailedWrites(
        context,
        local,
        call,
        writer,
        renewal,
      );
      if (!this.failedWrites.add(error, lease)) {
        throw error;
      }
      if (!policy.waits && call.conflicts > MOST_CONFLICTS) {
        throw call.notAcquired();
      }
      return undefined;
    }
  }

  /** R12: a session without a holder never gets one, since to others it has ended. @throws LockNotAcquiredError */
  private refuseEnded(lease: StoredLease | undefined): void {
    const { call, renewal } = this;
    const { identity } = call.policy;
    if (renewal.isSession && lease && !isHeldBy(lease, identity)) {
      throw call.notAcquired();
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
    const deadline = deadlineOf(sentAt, this.call.options);
    if (now >= deadline) {
      throw new LeaseStoreError(
        'timeout',
        `The lock can't be held: the API server took ${Math.round(now - sentAt)} ms to answer, which is longer than the ${deadline - sentAt} ms to the deadline of a holder (leaseDuration - safetyMargin). Use a longer leaseDuration.`,
        { ambiguous: true },
      );
    }
  }

  /** Step 9, A7: pauses before the next read, which shows whether a failed write was applied (R7). Throws if cancelled. */
  private async recover(error: unknown): Promise<void> {
    const { call, context, failedWrites, local } = this;
    this.admission.end();
    call.signal.throwIfAborted();
    if (!(error instanceof LeaseStoreError)) {
      throw error;
    }
    local.fail(error);
    const { timeLeft, waits } = call.policy;
    const mayTryAgain =
      !isFinal(error) &&
      (waits ||
        timeLeft > 0 ||
        // One more read shows whether the write was applied.
        (error.ambiguous && this.failures === 0));
    if (!mayTryAgain) {
      throw toBackendError(error, call.lock);
    }
    this.failures += 1;
    this.mustRead = true;
    reportFailure(context, call.lock, 'acquire', error);
    if (failedWrites?.mustBeUndone) {
      await untilAborted(failedWrites.undo(), call.signal);
    }
    const { clock } = context;
    const delay = Math.max(
      backoff(clock, this.failures),
      retryAfterOf(error, timeLeft),
    );
    await pause(clock, delay, call.signal);
  }

  /** Ends the turn without the lock. */
  private abandon(): void {
    const { failedWrites, local, writer } = this;
    // The next caller may use the place, unless a write under its identity may still be applied.
    if (failedWrites?.isAmbiguous || !local.queue.hasWaiters) {
      writer.leaveLine();
    }
    void failedWrites?.undo();
    local.leave();
  }

  private requestOptions(priority: RequestPriority): RequestOptions {
    return {
      signal: this.call.signal,
      timeout: this.context.requestTimeout,
      priority,
    };
  }
}
