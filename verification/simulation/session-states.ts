/** The sessions as the API server has them, and which locks are held under them (R12). */
import type { Lease, StoredLease } from '../../lib/kube/lease-store.js';
import type { AppliedWrite } from './api-model.js';

/** As lock records name their session. */
const SESSION = 'nestjs-k8s-lock/session';
const IS_SESSION = 'nestjs-k8s-lock/is-session';
/** leaseDurationSeconds of a lock that is held under a session. */
const NEVER = 2_147_483_647;

export interface SessionState {
  /** Milliseconds. */
  readonly duration: number;
  /** True time of the last write of its process. */
  readonly renewedAt: number;
  /** True time since which it has no holder, who ended it, and whether it is gone; undefined = it is held. */
  readonly end:
    | { readonly at: number; readonly by: string; readonly isGone: boolean }
    | undefined;
}

export class SessionStates {
  private readonly byUid = new Map<string, SessionState>();
  private restoredAt = -Infinity;

  written({ author, before, after }: AppliedWrite, now: number): void {
    const session = after ?? before;
    if (!session || !isSession(session)) {
      return;
    }
    const { uid: own } = session.metadata;
    const known = this.byUid.get(own);
    const isHeld = !!after?.spec?.holderIdentity;
    this.byUid.set(own, {
      duration:
        (after?.spec?.leaseDurationSeconds ?? 0) * 1_000 ||
        known?.duration ||
        0,
      renewedAt:
        isHeld && after.spec?.renewTime !== before?.spec?.renewTime
          ? now
          : (known?.renewedAt ?? now),
      // The first end counts: it may be deleted later, or be there again after a restore.
      end:
        known?.end ??
        (isHeld
          ? undefined
          : { at: now, by: author.name, isGone: after === undefined }),
    });
  }

  /** The session under which a record is held; undefined = under none. */
  of(lease: Lease | undefined): SessionState | undefined {
    const reference = referenceOf(lease);
    return (
      reference &&
      (this.byUid.get(reference.uid) ?? {
        duration: reference.duration,
        renewedAt: 0,
        // It was gone by the time of the backup.
        end: { at: this.restoredAt, by: '', isGone: true },
      })
    );
  }

  /**
   * Whether a session has ended, though its Lease may be there again; or was restored, and is not renewed any more:
   * its process knows what has happened.
   */
  isOver({ metadata }: StoredLease): boolean {
    const state = this.byUid.get(metadata.uid);
    return state?.end !== undefined || state!.renewedAt < this.restoredAt;
  }

  /**
   * etcd was restored from a backup, in which these are the Leases. What has ended before is not renewed any more,
   * though its Lease may be there again.
   */
  restored(leases: readonly StoredLease[], now: number): void {
    this.restoredAt = now;
    const uids = new Set(leases.map(({ metadata }) => metadata.uid));
    for (const [uid, state] of this.byUid) {
      if (!uids.has(uid) && !state.end?.isGone) {
        this.byUid.set(uid, {
          ...state,
          end: { at: now, by: '', isGone: true },
        });
      }
    }
  }
}

export function isSession(lease: Lease | undefined): boolean {
  return lease?.metadata.labels?.[IS_SESSION] !== undefined;
}

/** The uid of the session under which the record is held. */
export function uidOf(lease: Lease | undefined): string | undefined {
  return referenceOf(lease)?.uid;
}

function referenceOf(
  lease: Lease | undefined,
): { uid: string; duration: number } | undefined {
  const [, uid, seconds, holder] =
    /^\S+ (\S+) (\d+) by (.*)$/.exec(
      lease?.metadata.annotations?.[SESSION] ?? '',
    ) ?? [];
  return uid !== undefined &&
    lease?.spec?.leaseDurationSeconds === NEVER &&
    holder === lease.spec.holderIdentity
    ? { uid, duration: Number(seconds) * 1_000 }
    : undefined;
}
