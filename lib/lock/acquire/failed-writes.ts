/**
 * R7: the acquiring writes of a call that failed: another client wrote first, or the outcome is unknown, so that
 * the write may have taken the lock, or may still do so, and is undone unless the call acquires the lock.
 */
import { LeaseStoreError, type StoredLease } from '../../kube/lease-store.js';
import type { EngineContext } from '../engine-context.js';
import type { LeaseWriter } from '../lease/lease-writer.js';
import type { LocalLease } from '../lease/local-lease.js';
import { comparedContent } from '../record/lease-patch.js';
import { isHeldBy } from '../record/lease-record.js';
import { grantOf } from '../record/line.js';
import { LONGEST_WRITE, scheduleUnless } from '../retry.js';
import type { AcquireCall, Renewal } from './acquire-call.js';

/** After this many conflicts a call that does not wait treats the lock as held by others. */
export const MOST_CONFLICTS = 8;

export class FailedWrites {
  /** Whether a creation without an answer may still be applied. */
  mayBeCreatedLate = false;
  /** The last write that met a conflict: the resourceVersion on which it was based, and the error. */
  private conflict:
    { basedOn: string | undefined; error: LeaseStoreError } | undefined;
  /** The last write with an unknown outcome: what it compares (see `comparedContent`); undefined = it was a creation. */
  private ambiguous: { basedOn: string | undefined } | undefined;
  /** The number of such writes in a row. */
  private timesAmbiguous = 0;
  private undoing: Promise<void> | undefined;

  constructor(
    private readonly context: EngineContext,
    private readonly local: LocalLease,
    private readonly call: AcquireCall,
    private readonly writer: LeaseWriter,
    private readonly renewal: Renewal,
  ) {}

  /** Whether a write may have been applied, or may still be. */
  get isAmbiguous(): boolean {
    return this.ambiguous !== undefined;
  }

  /** Whether the write is to be undone before the next one. */
  get mustBeUndone(): boolean {
    return this.timesAmbiguous > 1;
  }

  /**
   * Step 7: a write has failed that was based on `lease`.
   *
   * @returns whether another client wrote first, as the next read must show
   */
  add(error: LeaseStoreError, lease: StoredLease | undefined): boolean {
    if (error.ambiguous) {
      this.leaveAmbiguous(lease);
      if (lease === undefined) {
        this.mayBeCreatedLate = true;
        if (this.renewal.sessions) {
          this.undoLater();
        }
      }
    }
    const isOvertaken =
      error.reason === 'conflict' ||
      (error.reason === 'not-found' && lease !== undefined);
    if (isOvertaken) {
      this.conflict = { basedOn: lease?.metadata.resourceVersion, error };
      this.call.conflicts += 1;
    }
    return isOvertaken;
  }

  /**
   * Steps 7 and 8: the record was read.
   *
   * @throws LeaseStoreError if it does not show that another client wrote first
   */
  check(lease: StoredLease | null): void {
    const isTaken = isHeldBy(lease, this.call.policy.identity);
    if (
      this.ambiguous &&
      comparedContent(lease) !== this.ambiguous.basedOn &&
      !isTaken
    ) {
      this.ambiguous = undefined; // another write came first, so it can't be applied any more
    }
    const { conflict } = this;
    if (conflict === undefined) {
      return;
    }
    this.conflict = undefined;
    const version = lease?.metadata.resourceVersion;
    // Unless the lock was granted to it in between.
    const isOurs = isTaken && grantOf(lease) === undefined;
    // After a conflict of a creation the Lease may have been deleted again. Without the word of the API
    // server that it existed, not every time: a 409 also comes from a quota or an admission webhook.
    const isExplained =
      version === undefined &&
      (conflict.error.alreadyExists || this.call.conflicts < MOST_CONFLICTS);
    const isUnchanged = version === conflict.basedOn && !isExplained;
    if (isOurs) {
      this.leaveAmbiguous(lease);
    }
    if (isOurs || isUnchanged) {
      throw conflict.error;
    }
  }

  private leaveAmbiguous(lease: StoredLease | null | undefined): void {
    this.ambiguous = { basedOn: comparedContent(lease) };
    this.timesAmbiguous += 1;
  }

  /**
   * Step 8, A22: undoes a write that may leave the record taken. Until then it counts as ambiguous, so that nobody uses
   * its identity. Never rejects.
   */
  undo(): Promise<void> {
    this.timesAmbiguous = 0;
    if (this.ambiguous !== undefined && this.undoing === undefined) {
      this.undoing = this.undoLast(this.ambiguous.basedOn);
      this.context.background(this.undoing);
    }
    return this.undoing ?? Promise.resolve();
  }

  private async undoLast(basedOn: string | undefined): Promise<void> {
    await (this.renewal.isSession
      ? this.deleteSession()
      : this.undoWrite(basedOn));
    this.ambiguous = undefined;
    this.undoing = undefined;
  }

  private undoWrite(basedOn: string | undefined): Promise<void> {
    const { context, call, renewal, writer } = this;
    const taken = renewal.sessions ? Infinity : call.options.leaseDuration;
    const giveUpAt = context.clock.now() + Math.max(LONGEST_WRITE, taken);
    return writer.undo(call.policy.identity, basedOn, giveUpAt);
  }

  /** R12: deletes the session that a creation without an answer may have made. No lock names it. */
  private deleteSession(): Promise<void> {
    const { identity } = this.call.policy;
    const giveUpAt = this.context.clock.now() + LONGEST_WRITE;
    return this.writer.release({ identity, giveUpAt, remove: true });
  }

  /**
   * R7, R12: frees the record that a creation without an answer may have left behind by the time at which it can't
   * be applied any more. Its session may live on, so that the record would never expire.
   */
  private undoLater(): void {
    const { context, local, writer } = this;
    const { clock, closed } = context;
    const { identity } = this.call.policy;
    scheduleUnless(clock, closed, clock.now() + LONGEST_WRITE, () => {
      if (local.holder !== identity) {
        const giveUpAt = clock.now() + LONGEST_WRITE;
        context.background(writer.release({ identity, giveUpAt }));
      }
    });
  }
}
