/** A call for a lock: its wait for the turn in this process (step 1 of the Acquirer), and the error with which it ends. */
import { LeaseStoreError } from '../../kube/lease-store.js';
import type { ResolvedLockOptions } from '../../k8s-lock.options.js';
import {
  LockNotAcquiredError,
  type LockBackendError,
  type LockReference,
} from '../../lock.errors.js';
import { onAbort } from '../abort-signals.js';
import { toBackendError, type EngineContext } from '../engine-context.js';
import type { SessionOpener } from '../hold/held-session.js';
import type { LocalLease } from '../lease/local-lease.js';
import { FireClaimedError, type FireClaim } from '../record/fire-claim.js';
import { newHolderIdentity } from '../record/lease-record.js';
import { heldSince } from '../record/lock-state.js';
import { WaitPolicy, type AcquireMode, type LockCall } from './wait-policy.js';

/** How the lock is to be held. */
export interface Renewal {
  /** R12: opens the session under which the lock is held; undefined = the lock is renewed itself. */
  readonly sessions?: SessionOpener;
  /** Whether the Lease is itself a session. */
  readonly isSession?: boolean;
}

export class AcquireCall {
  readonly lock: LockReference;
  readonly options: ResolvedLockOptions;
  readonly mode: AcquireMode;
  readonly claim: FireClaim | undefined;
  readonly policy: WaitPolicy;
  /** Whether it has waited for a holder, or for its turn. */
  hasWaited = false;
  /** The number of times that another client wrote first. */
  conflicts = 0;
  /** Whether it waits until this process can renew one more lock. */
  isHeldBack = false;
  private readonly cancel = new AbortController();
  /** Aborts with the error with which the call ends without the lock. */
  readonly signal: AbortSignal = this.cancel.signal;

  constructor(
    private readonly context: EngineContext,
    private readonly local: LocalLease,
    call: LockCall,
  ) {
    this.lock = call.lock;
    this.options = call.options;
    this.mode = call.mode;
    this.claim = call.claim;
    this.policy = new WaitPolicy(context.clock, local.observed, call);
    this.useIdentity(newHolderIdentity(context.clientId));
  }

  /** Milliseconds since the call. */
  get waited(): number {
    return this.context.clock.now() - this.policy.startedAt;
  }

  /** R7: the call acquires the lock under this holder identity from now on. */
  useIdentity(identity: string): void {
    this.policy.identity = identity;
    this.claim?.ownIdentities.add(identity);
  }

  /** A14: ends the call when this signal aborts, or when its time is over. @returns a function that ends this */
  limit(signal: AbortSignal | undefined): () => void {
    const { clock } = this.context;
    const { waitTimeout } = this.options;
    if (signal?.aborted) {
      this.stop(signal.reason);
    }
    const stopListening =
      signal && onAbort(signal, () => this.stop(signal.reason));
    const cancelTimeout =
      this.policy.waits && waitTimeout !== undefined
        ? clock.schedule(this.policy.startedAt + waitTimeout, () =>
            this.timeIsUp(),
          )
        : undefined;
    return () => {
      cancelTimeout?.();
      stopListening?.();
    };
  }

  /** A22: ends the call with this error, at any moment. */
  stop(reason: unknown): void {
    this.cancel.abort(reason);
  }

  /** Ends the call because the application is closing. */
  close(): void {
    const verdict = this.policy.isFollowing && this.policy.claimVerdict;
    const isAtWork =
      verdict && (verdict.state === 'running' || verdict.state === 'taken');
    const reason = isAtWork
      ? new FireClaimedError(verdict)
      : new LockNotAcquiredError(this.lock, 'shutdown');
    this.stop(reason);
  }

  /**
   * Step 1: resolves when the call gets its turn. A call that does not wait stays until it is known whether the lock
   * is held; a call for a fire stays while the caller before it may fail to get the lock.
   */
  async waitForTurn(): Promise<void> {
    const { local, policy, signal } = this;
    signal.throwIfAborted();
    if (!local.queue.isOccupied) {
      return local.queue.enter(signal);
    }
    if (policy.isForFire) {
      return this.waitForFire();
    }
    if (policy.waits) {
      this.waiting();
      return local.queue.enter(signal);
    }
    return this.waitForNews();
  }

  /** The wait of a call for a fire: judges again after each change and at each time limit. */
  private async waitForFire(): Promise<void> {
    const { local, policy, signal } = this;
    const { clock } = this.context;
    let cancel: (() => void) | undefined;
    const judge = (): void => {
      this.judgeFromBehind();
      const { timeLeft, changesAt } = policy;
      // Only now: the look at an expired session ends it, which judges again.
      cancel?.();
      if (timeLeft <= 0) {
        this.stop(this.outOfTime());
      } else if (!signal.aborted && changesAt < Infinity) {
        cancel = clock.schedule(changesAt, judge);
      }
    };
    judge();
    signal.throwIfAborted();
    this.waiting();
    const unlisten = this.listen(judge);
    try {
      await local.queue.enter(signal);
    } finally {
      cancel?.();
      unlisten();
    }
  }

  /** The wait of a call that does not wait for a holder: until it is known whether there is one. */
  private async waitForNews(): Promise<void> {
    const { local, policy, signal } = this;
    const { clock, requestTimeout } = this.context;
    // The known state is outdated, unless the call before has found a holder.
    this.judgeFromBehind(local.hasMetHolder);
    signal.throwIfAborted();
    const unlisten = this.listen(() => this.judgeFromBehind());
    // The caller before may wait without limit while the API server fails.
    const giveUpAt = (at: number): (() => void) =>
      clock.schedule(at, () => {
        const { verdict } = policy;
        const mayBeDead = !verdict.takeable && policy.goOnFor(verdict);
        if (mayBeDead && verdict.expiresAt !== undefined) {
          cancel = giveUpAt(verdict.expiresAt + requestTimeout);
        } else {
          this.stop(this.outOfTime());
        }
      });
    let cancel = giveUpAt(clock.now() + requestTimeout);
    try {
      await local.queue.enter(signal);
    } finally {
      cancel();
      unlisten();
    }
  }

  private listen(judge: () => void): () => void {
    return this.local.listen({
      recordSeen: judge,
      recordGone: judge,
      lockTaken: judge,
      turnFailed: judge,
    });
  }

  /**
   * Ends the wait of a call for a fire as soon as another call has claimed the fire or the fire is to be
   * skipped; that of any other call as soon as a holder is known, or the API server has failed.
   */
  private judgeFromBehind(isNews = true): void {
    const { local, policy } = this;
    try {
      policy.refuseClaimed();
      const { verdict } = policy;
      if (local.holder !== undefined && !policy.waits) {
        throw this.notAcquired(local.holder);
      }
      if (local.failure !== undefined && !policy.isForFire) {
        throw this.outOfTime();
      }
      if (!verdict.takeable && isNews && !policy.goOnFor(verdict)) {
        throw this.notAcquired(verdict.holder);
      }
    } catch (error) {
      this.stop(error);
    }
  }

  /** Reports that the call waits. */
  waiting(): void {
    if (!this.hasWaited) {
      this.hasWaited = true;
      this.context.emit({ type: 'waiting', ...this.lock });
    }
  }

  private timeIsUp(): void {
    if (!this.isHeldBack && this.policy.endWait(this.policy.verdict)) {
      this.judgeFromBehind();
    } else {
      this.stop(this.outOfTime());
    }
  }

  notAcquired(holder?: string): LockNotAcquiredError {
    const { local, lock, options, mode, waited } = this;
    return new LockNotAcquiredError(
      lock,
      mode === 'wait' ? 'timeout' : 'held',
      {
        holder,
        isOwnProcess: holder !== undefined && holder === local.holder,
        since: heldSince(local.observed.lease),
        waited,
        retryInterval: options.retryInterval,
      },
    );
  }

  /** The error of a call that this process must not acquire the lock for, since it could not renew it. */
  saturated(): LockNotAcquiredError {
    const { saturation } = this.context.admission;
    const { retryInterval } = this.options;
    const details = { saturation, retryInterval };
    return new LockNotAcquiredError(this.lock, 'saturated', details);
  }

  /** The error of a call whose time is over. */
  private outOfTime(): unknown {
    const { context, local, lock, policy } = this;
    const { verdict } = policy;
    if (this.isHeldBack && context.admission.saturation) {
      return this.saturated();
    }
    if (local.holder !== undefined) {
      return this.notAcquired(local.holder);
    }
    if (local.failure !== undefined) {
      return toBackendError(local.failure, lock);
    }
    if (!verdict.takeable) {
      return this.notAcquired(verdict.holder);
    }
    return local.isAsking || this.isHeldBack
      ? noAnswer(lock, this.waited)
      : this.notAcquired();
  }
}

/** The error of a call that has ended before the API server has said who holds the lock. */
export function noAnswer(
  lock: LockReference,
  waited: number,
): LockBackendError {
  const message = `no holder is known, and the API server did not answer within ${Math.round(waited)} ms.`;
  return toBackendError(new LeaseStoreError('timeout', message), lock);
}
