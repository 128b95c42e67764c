/**
 * One acquisition from its acquiring write to its release: renewal, deadline (R8) and loss. Its handles
 * share it, and the release of the last handle releases the record.
 */
import {
  LeaseStoreError,
  type RequestOptions,
  type StoredLease,
} from '../../kube/lease-store.js';
import type { Permit } from '../admission.js';
import type { ResolvedLockOptions } from '../../k8s-lock.options.js';
import {
  LockLostError,
  type LockLossReason,
  type LockReference,
} from '../../lock.errors.js';
import { beginClaim, type ClaimEnd } from '../record/fire-claim.js';
import { LeaseWriter, type Ending } from '../lease/lease-writer.js';
import type {
  LocalLease,
  RecordListener,
  WrittenLease,
} from '../lease/local-lease.js';
import {
  reportFailure,
  toBackendError,
  type EngineContext,
} from '../engine-context.js';
import {
  withTimeout,
  backoff,
  retryAfterOf,
  isFinal,
  isFirstConflict,
  pause,
} from '../retry.js';
import { fencingTokenOf, readHolder } from '../record/lease-record.js';
import { deadlineOf, timingOf, type Timing } from './deadline.js';
import type { HeldSession } from './held-session.js';

/**
 * R11: the number of handovers in a row between callers of one process while other processes are in line. With many,
 * other processes wait for ever: docs/performance.md has the figures of other bounds.
 */
const MOST_HANDOVERS = 2;

/** No renewal starts later than this before the deadline, in milliseconds. */
const LEAST_TIME_FOR_A_TRY = 10;

/** The result of the acquiring write, or of a grant. */
export interface AcquiredLease extends WrittenLease {
  readonly identity: string;
  /** R11: milliseconds from `sentAt` until the grant lapses; undefined = the lock was acquired by a write of its own. */
  readonly grantDuration?: number;
  /** Whether a creation without an answer may still be applied once the Lease is deleted. */
  readonly mayBeCreatedLate: boolean;
  /** The planned time of the fire that is claimed in the record, and not yet begun. */
  readonly claimed: number | undefined;
  /** R12: the session under which the lock is held; undefined = the lock is renewed itself. */
  readonly session?: HeldSession;
  readonly permit: Permit;
}

export class LeaseHolder implements RecordListener {
  readonly holderIdentity: string;
  readonly fencingToken: bigint;
  /** The planned time of the fire that was claimed with the lock. */
  readonly claimed: number | undefined;

  private readonly writer: LeaseWriter;
  private readonly abort = new AbortController();
  /** Aborts the requests of renewals when the lock is lost. */
  private readonly ended = new AbortController();
  private readonly uid: string;
  private readonly mayBeCreatedLate: boolean;
  private readonly permit: Permit;
  readonly acquiredAt: number;
  /** Monotonic time from which `maxHold` counts: the work of a claimed fire begins later than its lock is acquired. */
  private workingSince: number;
  private readonly stopListening: () => void;
  /** Monotonic time at which the last successful write was sent; of a grant, a time before it was written (R11). */
  private sentAt: number;
  timing: Timing;
  private readonly session: HeldSession | undefined;
  private readonly leaveSession: (() => void) | undefined;
  private readonly stopListeningToSession: (() => void) | undefined;
  private loss: LockLossReason | undefined;
  private released: Promise<void> | undefined;
  /** The number of handles that are not released. */
  private handles = 0;
  private beginning: Promise<void> | undefined;
  /** The end of the claimed fire that the release will write. */
  private claimEnd: ClaimEnd;
  /** Whether the work of the claimed fire has ended; later calls that share the lock don't change its end. */
  private hasWorkEnded = false;
  private renewing: Promise<void> = Promise.resolve();
  private failures = 0;
  private mustRead = false;
  /** Monotonic time of the next renewal or read, or of the one in flight. */
  private checkAt = Infinity;
  private cancelCheck: (() => void) | undefined;
  private cancelLimits: (() => void) | undefined;

  constructor(
    readonly context: EngineContext,
    private readonly local: LocalLease,
    readonly lock: LockReference,
    readonly options: ResolvedLockOptions,
    acquisition: AcquiredLease,
    /** Called when the release has ended. */
    private readonly onEnd?: () => void,
  ) {
    this.writer = new LeaseWriter(context, local, lock);
    this.holderIdentity = acquisition.identity;
    this.uid = acquisition.lease.metadata.uid;
    this.mayBeCreatedLate = acquisition.mayBeCreatedLate;
    this.permit = acquisition.permit;
    this.claimed = acquisition.claimed;
    this.claimEnd = acquisition.claimed === undefined ? 'done' : 'open';
    this.fencingToken = fencingTokenOf(acquisition.lease);
    this.acquiredAt = context.clock.now();
    this.workingSince =
      acquisition.claimed === undefined ? this.acquiredAt : Infinity;
    this.sentAt = acquisition.sentAt;
    const { grantDuration } = acquisition;
    this.timing =
      grantDuration === undefined
        ? options
        : timingOf(grantDuration, options, this.acquiredAt - this.sentAt);
    this.session = acquisition.session;
    this.stopListening = local.listen(this);
    this.armLimits();
    this.scheduleCheck();
    this.leaveSession = this.session?.join(this);
    this.stopListeningToSession = this.session?.onLoss(() =>
      this.checkLimits(),
    );
  }

  /** Monotonic time at which the last successful write was sent from which the deadline counts. */
  get lastSentAt(): number {
    return this.session?.lastSentAt ?? this.sentAt;
  }

  get signal(): AbortSignal {
    this.checkLimits();
    return this.abort.signal;
  }

  get isHeld(): boolean {
    this.checkLimits();
    return this.loss === undefined && !this.isReleased;
  }

  /** R8: monotonic time at which the lock is given up unless it is renewed. */
  get deadline(): number {
    return deadlineOf(this.lastSentAt, this.timing);
  }

  /** The part of the time to the deadline that is left; undefined without a deadline, and under a grant (R11), which is short. */
  private get margin(): number | undefined {
    const { deadline, lastSentAt, timing, options } = this;
    return deadline === Infinity || timing !== options
      ? undefined
      : (deadline - this.context.clock.now()) / (deadline - lastSentAt);
  }

  get isReleased(): boolean {
    return this.released !== undefined;
  }

  assertHeld(): void {
    if (!this.isHeld) {
      throw new LockLostError(this.lock, this.loss ?? 'released');
    }
  }

  /** Adds a handle. */
  lend(): void {
    this.handles += 1;
  }

  /** A20: removes a handle. Removing the last one releases the record. */
  giveBack(): Promise<void> {
    this.handles -= 1;
    return this.handles === 0 ? this.release() : Promise.resolve();
  }

  private release(): Promise<void> {
    this.checkLimits();
    // Set first, since a listener of the event may release again.
    this.released ??= Promise.resolve().then(() => this.end());
    return this.released;
  }

  /**
   * Writes into the record that the claimed fire begins, and resolves when the write has succeeded. The claim
   * is then visible to all pods and is never undone. Retries for as long as the lock is held.
   *
   * @throws LockLostError, LockBackendError
   */
  begin(): Promise<void> {
    this.beginning = this.writeBegin();
    return this.beginning;
  }

  private async writeBegin(): Promise<void> {
    for (let failures = 1; ; failures += 1) {
      this.assertHeld();
      this.leaveToOthers();
      const before = this.claimEnd;
      try {
        // oxlint-disable-next-line no-await-in-loop -- one attempt after the other
        await this.inTurn(() =>
          this.writeRenewal((lease) => {
            // Once the write is sent it may be applied without an answer, and is not undone.
            this.claimEnd = 'begun';
            return beginClaim(lease);
          }),
        );
        this.assertHeld();
        this.claimEnd = 'done';
        this.workingSince = this.context.clock.now();
        this.armLimits();
        return;
      } catch (error) {
        if (error instanceof LeaseStoreError && !error.ambiguous) {
          this.claimEnd = before;
        }
        this.assertHeld();
        const isRefused =
          error instanceof LeaseStoreError &&
          isFinal(error) &&
          this.claimEnd === 'open';
        if (!(error instanceof LeaseStoreError) || isRefused) {
          throw toBackendError(error, this.lock);
        }
        this.mustRead = true;
        const delay = this.delayOfRetry(error, failures);
        // oxlint-disable-next-line no-await-in-loop -- the pause between two attempts
        await pause(this.context.clock, delay, this.ended.signal).catch(() =>
          this.assertHeld(),
        );
      }
    }
  }

  /** Throws if the application is closing and nothing was sent yet, so that another pod can run the fire. */
  private leaveToOthers(): void {
    if (!this.mayHaveBegun) {
      this.abort.signal.throwIfAborted();
    }
  }

  /** Whether the record may say that the claimed fire has begun. */
  get mayHaveBegun(): boolean {
    return this.claimEnd !== 'open';
  }

  /** Called when the application is closing: aborts the signal. The lock stays held until the work ends. */
  askToStop(): void {
    this.abort.abort(new LockLostError(this.lock, 'shutdown'));
  }

  /** Called when the handle of the claimed fire's work is released. */
  endWork(): void {
    this.hasWorkEnded = true;
  }

  /** A fire that has begun, or may have, does not become `open` again: other pods may have skipped it already. */
  endClaimAs(end: ClaimEnd): void {
    if (this.hasWorkEnded) {
      return;
    }
    const isTakenBack = end === 'open' && this.mayHaveBegun;
    this.claimEnd = isTakenBack ? 'begun' : end;
  }

  /** Called after `shutdownTimeout`: releases the lock even if the work still runs. */
  async giveUp(): Promise<void> {
    if (this.beginning) {
      // If the record says `begun`, the work must begin, since no other pod will run the fire.
      const { clock, requestTimeout } = this.context;
      const known = this.beginning.catch(() => undefined);
      await withTimeout(clock, requestTimeout / 2, known);
    }
    if (!this.isReleased) {
      this.endClaimAs(this.claimEnd === 'open' ? 'open' : 'begun');
    }
    this.lose('shutdown');
    await this.release();
  }

  /** R12: called for a session whose record is older than one before: etcd was restored, and with it the records of its locks. */
  loseRestored(): void {
    this.lose('deleted');
  }

  /** Called for each newer record: the lock is lost if the record names another holder. */
  recordSeen(lease: StoredLease): void {
    if (this.isHeld) {
      this.checkRecord(lease);
    }
  }

  /** Called when a watch reports a deletion, which may be outdated, so the record is read at once. */
  recordGone(): void {
    void this.look();
  }

  /** Called when a watch has lost sight of the record: it may have been deleted. */
  sightLost(): void {
    void this.look();
  }

  /** Reads the record to check that the lock is still held. */
  async look(): Promise<void> {
    if (this.isHeld) {
      await this.inTurn(() => this.verify());
    }
  }

  /** R8: true if the record is still the acquired one and names this holder; otherwise the lock is lost. */
  private checkRecord(lease: StoredLease | null): lease is StoredLease {
    if (lease === null || lease.metadata.uid !== this.uid) {
      this.lose('deleted');
      return false;
    }
    const state = readHolder(lease);
    if (!state.held) {
      this.lose('freed');
      return false;
    }
    if (state.holder !== this.holderIdentity) {
      this.lose('taken');
      return false;
    }
    return true;
  }

  private lose(reason: LockLossReason): void {
    if (this.loss !== undefined || this.isReleased) {
      return;
    }
    this.loss = reason;
    this.stop();
    this.ended.abort();
    this.abort.abort(new LockLostError(this.lock, reason));
    this.context.emit({
      type: 'lost',
      ...this.lock,
      fencingToken: this.fencingToken,
      reason,
      held: this.context.clock.now() - this.acquiredAt,
    });
    if (reason === 'max-hold' && this.session?.isHeld) {
      const { holderIdentity, options } = this;
      const left = this.writer.leaveSession(
        holderIdentity,
        options.leaseDuration,
      );
      this.context.background(left);
    }
    // The next waiter of this process may try to acquire the lock, as other pods may.
    this.local.leave();
  }

  private stop(): void {
    this.permit.end();
    this.stopListening();
    this.stopListeningToSession?.();
    this.cancelCheck?.();
    this.cancelLimits?.();
  }

  /** R8: loses the lock at the deadline; R12: with its session. The clock decides, since a timer fires late in a busy or paused process. */
  private checkLimits(): void {
    const now = this.context.clock.now();
    if (now >= this.deadline) {
      this.lose('deadline');
    } else if (this.session?.isHeld === false) {
      this.lose(this.session.lossReason);
    } else if (now >= this.endOfMaxHold) {
      this.lose('max-hold');
    }
  }

  private get endOfMaxHold(): number {
    return this.workingSince + (this.options.maxHold ?? Infinity);
  }

  /** Checks again when the first of the limits is reached. A session tells of its own end. */
  private armLimits(): void {
    this.cancelLimits?.();
    const deadline = this.session === undefined ? this.deadline : Infinity;
    const at = Math.min(deadline, this.endOfMaxHold);
    if (at !== Infinity) {
      this.cancelLimits = this.later(at, () => this.checkLimits());
    }
  }

  /** Schedules the next renewal, or without `autoRenew` the next read, by which the holder learns that the lock was taken. */
  private scheduleCheck(at = this.nextCheckAt): void {
    this.cancelCheck?.();
    if (this.isHeld && at !== Infinity) {
      this.checkAt = at;
      const check = this.isRenewed
        ? () => this.renewOnce()
        : () => this.verify();
      this.cancelCheck = this.later(at, () => void this.inTurn(check));
    }
  }

  /** Whether this lock is renewed itself. */
  private get isRenewed(): boolean {
    return this.options.autoRenew && this.session === undefined;
  }

  private get nextCheckAt(): number {
    const { retryInterval } = this.options;
    const { clock } = this.context;
    if (this.session !== undefined) {
      return Infinity;
    }
    return this.isRenewed
      ? this.lastSentAt + this.timing.renewInterval
      : clock.now() + retryInterval * (0.8 + clock.random() * 0.2);
  }

  private async renewOnce(): Promise<void> {
    if (!this.isHeld) {
      return;
    }
    try {
      await this.writeRenewal();
      this.failures = 0;
      this.scheduleCheck();
    } catch (error) {
      if (this.isHeld) {
        this.renewalFailed(error);
      }
    }
  }

  /** Reads the record to check that the lock is still held; retries until a read succeeds. */
  private async verify(): Promise<void> {
    if (!this.isHeld) {
      return;
    }
    const { context, options } = this;
    try {
      const priority = this.isRenewed ? 'renew' : 'look';
      const request = { ...this.requestOptions(), priority } as const;
      this.checkRecord(await this.local.read(request));
      this.mustRead = false;
      if (!this.isRenewed) {
        this.failures = 0;
        this.scheduleCheck();
      }
    } catch (error) {
      if (this.isHeld) {
        this.mustRead = true;
        this.failures += 1;
        reportFailure(context, this.lock, 'watch', error);
        const { clock } = context;
        const left = this.deadline - clock.now();
        const delay = Math.max(
          backoff(clock, this.failures, options.retryInterval),
          retryAfterOf(error, Math.min(options.retryInterval, left)),
        );
        const at = clock.now() + delay;
        // The next renewal reads the record, at its planned time at the latest.
        if (!this.isRenewed) {
          this.scheduleCheck(at);
        } else if (this.checkAt > clock.now()) {
          this.scheduleCheck(Math.min(at, this.checkAt));
        }
      }
    }
  }

  private async writeRenewal(
    change: (lease: StoredLease) => StoredLease = (lease) => lease,
  ): Promise<void> {
    let lease = this.local.observed.lease;
    if (this.mustRead || !lease) {
      lease = await this.local.read(this.requestOptions());
      this.mustRead = false;
    }
    if (!this.isHeld || !this.checkRecord(lease)) {
      return;
    }
    const { sentAt } = await this.writer.renew(
      lease,
      this.session ? Infinity : this.options.leaseDuration,
      change,
      this.requestOptions(),
    );
    if (this.isHeld) {
      const margin = this.margin;
      this.sentAt = sentAt;
      this.timing = this.options;
      this.armLimits();
      this.context.emit({
        type: 'renewed',
        ...this.lock,
        fencingToken: this.fencingToken,
        ...(margin !== undefined && { margin }),
      });
    }
  }

  /** Schedules a retry until the deadline. The next attempt reads the record, unless the failed one had no effect. */
  private renewalFailed(error: unknown): void {
    this.mustRead ||= !isWithoutEffect(error);
    this.failures += 1;
    const delay = this.delayOfRetry(error, this.failures);
    if (this.deadline - this.context.clock.now() > LEAST_TIME_FOR_A_TRY) {
      this.scheduleCheck(this.context.clock.now() + delay);
    }
  }

  /** Reports a failed write, and returns the pause before the next attempt. */
  private delayOfRetry(error: unknown, failures: number): number {
    if (isFirstConflict(error, failures)) {
      return 0;
    }
    const { clock } = this.context;
    reportFailure(this.context, this.lock, 'renew', error);
    const left = this.deadline - clock.now();
    const delay = Math.max(
      backoff(clock, failures, this.options.renewInterval),
      retryAfterOf(error, left),
    );
    return Math.min(delay, left / 2);
  }

  /** Runs the requests about the record one after the other. */
  private inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.renewing.then(work);
    this.renewing = done.catch(() => undefined);
    return done;
  }

  /** Gives a request half of the time to the deadline, so that one more can follow. */
  private requestOptions(): RequestOptions {
    const { clock, requestTimeout } = this.context;
    const left = this.deadline - clock.now();
    return {
      timeout: Math.min(requestTimeout, left / 2),
      within: left,
      signal: this.ended.signal,
      priority: 'renew',
    };
  }

  private async end(): Promise<void> {
    const { context, local, options, session } = this;
    const { clock } = context;
    const stopWaitingAt = clock.now() + context.requestTimeout;
    // A lost lock has already ended its turn, so the shared state belongs to another caller.
    const hasTurn = this.loss === undefined;
    this.stop();
    if (hasTurn) {
      local.holder = undefined;
    }
    context.emit({
      type: 'released',
      ...this.lock,
      fencingToken: this.fencingToken,
      held: clock.now() - this.acquiredAt,
    });
    await this.renewing;
    // minHold does not apply to a fire that was interrupted or never began.
    const isDone = this.claimEnd === 'done';
    const takenUntil = this.acquiredAt + (isDone ? options.minHold : 0);
    const mustStayTaken = takenUntil > clock.now();
    const expiresAt = clock.now() + options.leaseDuration;
    const ending: Ending = {
      identity: this.holderIdentity,
      // R12: under a session that lives on, the record does not expire.
      get giveUpAt() {
        return session?.isHeld ? Infinity : expiresAt;
      },
      takenUntil,
      claim: this.claimEnd,
      remove: options.deleteOnRelease && !this.mayBeCreatedLate,
      courtesy: local.isCourtesyDue,
      ...(hasTurn &&
        (local.queue.hasWaiters || local.place.isWanted) && {
          placeFor: options.leaseDuration,
        }),
    };
    if (!mustStayTaken) {
      local.observed.markReleased(this.holderIdentity, this.claimEnd);
    }
    if (hasTurn && !mustStayTaken && this.mayHandOver) {
      // The waiter's acquiring write also releases this holder.
      local.handovers += 1;
      local.endHandover = () => context.background(this.writer.release(ending));
      this.leaveSession?.();
    } else {
      if (hasTurn) {
        local.handovers = 0;
      }
      const finished = this.writer
        .release(ending)
        .then(() => this.leaveSession?.());
      context.background(finished);
      await withTimeout(clock, stopWaitingAt - clock.now(), finished);
    }
    if (hasTurn) {
      local.place.released();
      local.leave();
      this.writer.awaitCaller();
    }
    this.onEnd?.();
  }

  /** A9: whether the next caller of this process gets the lock before other processes. */
  private get mayHandOver(): boolean {
    const { local } = this;
    return (
      local.queue.hasWaiters &&
      !local.isCourtesyDue &&
      !(local.handovers >= MOST_HANDOVERS && local.hasOthersInLine)
    );
  }

  private later(at: number, callback: () => void): () => void {
    const { clock } = this.context;
    return clock.schedule(at, callback, { background: true });
  }
}

/** Whether a failed renewal was certainly not applied, and does not contradict the known record. */
function isWithoutEffect(error: unknown): boolean {
  return (
    error instanceof LeaseStoreError &&
    !error.ambiguous &&
    error.reason !== 'conflict' &&
    error.reason !== 'not-found'
  );
}
