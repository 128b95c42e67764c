/**
 * The person who frees what a dead process has left taken for ever, or what was overwritten by hand:
 * that is beyond any other process.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { holderOf } from './histories.js';
import { BY_HAND, type Kubectl } from './kubectl.js';
import type { LockProfile } from './programs/messages.js';
import type { Workforce } from './workforce.js';

/** Milliseconds between two looks. */
const ROUND = 1_000;

export class Operator implements AsyncDisposable {
  private readonly stopped = new AbortController();
  private readonly done: Promise<void>;

  constructor(
    private readonly workforce: Workforce,
    private readonly kubectl: Kubectl,
    locks: readonly LockProfile[],
  ) {
    this.done = this.work(
      locks.filter(({ options }) => options.leaseDuration === 'infinite'),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stopped.abort();
    await this.done;
  }

  private async work(locks: readonly LockProfile[]): Promise<void> {
    const { signal } = this.stopped;
    while (!signal.aborted) {
      // oxlint-disable no-await-in-loop -- one after the other is the point
      for (const { name } of locks) {
        await this.lookAfter(name).catch(() => undefined); // the API server may be away
      }
      await sleep(ROUND, undefined, { signal }).catch(() => undefined);
      // oxlint-enable no-await-in-loop
    }
  }

  private async lookAfter(lock: string): Promise<void> {
    const found = await this.kubectl.get(lock);
    if (found !== undefined && this.isDead(holderOf(found))) {
      await this.kubectl.edit(lock, ({ spec, ...lease }) => ({
        ...lease,
        spec: {
          ...spec,
          holderIdentity: this.isDead(holderOf({ ...lease, spec }))
            ? undefined
            : spec?.holderIdentity,
        },
      }));
    }
  }

  private isDead(holder: string): boolean {
    return (
      holder.startsWith(BY_HAND) ||
      this.workforce.all.some(
        ({ name, isAlive }) => !isAlive && holder.startsWith(`${name}_`),
      )
    );
  }
}
