/** When the record of each holder was last written, in true time: what shows a call that its holder lives, or lived. */
import type { StoredLease } from '../../lib/kube/lease-store.js';
import type { AppliedWrite } from './api-model.js';
import type { Machine } from './machine.js';
import type { SessionStates } from './session-states.js';
import { durationOf, holderOf, isRetained, specOf } from './write-judge.js';

export interface Sign {
  /** True time of it: a renewal, or the end of the newHolder, whoever brought that about. */
  readonly at: number;
  /** Milliseconds for which the record then counted; Infinity = until released. */
  readonly duration: number;
  /** Milliseconds since the epoch until which it stays taken for `minHold`; undefined = the work goes on. */
  readonly retainedUntil: number | undefined;
  /** The record; if it is held under a session, the renewals of that count as well. */
  readonly lease: StoredLease | undefined;
}

export class SignsOfLife {
  private readonly byHolder = new Map<string, Sign>();
  private readonly byLease = new Map<string, number>();
  /** By the holder that it was taken over from: who did, and the last sign before that. */
  private readonly takeovers = new Map<
    string,
    { by: Machine | undefined; last: Sign | undefined }
  >();

  constructor(private readonly sessions: SessionStates) {}

  written({ author, key, before, after }: AppliedWrite, at: number): void {
    if (specOf(before) === specOf(after)) {
      return;
    }
    const from = holderOf(before);
    const holder = holderOf(after);
    if (holder !== '' && holder !== from) {
      const last = this.byHolder.get(from);
      this.takeovers.set(from, { by: author.machine, last });
    }
    this.byHolder.set(from, signOf(before, at));
    this.byHolder.set(holder, signOf(after, at));
    this.takeovers.delete(holder);
    this.byLease.set(key.name, at);
  }

  /** The last one of this holder that was not made by this very process when it took over. */
  of(holder: string, machine: Machine): Sign | undefined {
    const takeover = this.takeovers.get(holder);
    const sign =
      takeover?.by === machine ? takeover.last : this.byHolder.get(holder);
    const session = this.sessions.of(sign?.lease);
    return sign && session
      ? {
          ...sign,
          at: Math.max(sign.at, session.renewedAt),
          duration: session.duration,
        }
      : sign;
  }

  /** True time of the last one on this Lease, whoever gave it. */
  on(leaseName: string): number | undefined {
    return this.byLease.get(leaseName);
  }
}

function signOf(lease: StoredLease | undefined, at: number): Sign {
  const duration = durationOf(lease);
  const renewedAt = Date.parse(lease?.spec?.renewTime ?? '');
  return {
    at,
    duration,
    retainedUntil: isRetained(lease) ? renewedAt + duration : undefined,
    lease,
  };
}
