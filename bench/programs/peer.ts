/** One of two processes between which a lock, or a raw Lease, goes to and fro. */
import type { LeaseLock, LockService } from 'nestjs-k8s-lock';
import {
  answer,
  monotonic,
  report,
} from '../../verification/processes/programs/calls.js';
import { openLocks } from '../../verification/processes/programs/locks.js';
import { untilWatched } from '../../verification/processes/programs/wire.js';
import { RawLease } from './raw-leases.js';

let locks: LockService;
let lock: LeaseLock;
let raw: RawLease;

const calls = {
  async open(kubeConfigYaml: string): Promise<void> {
    locks = await openLocks({ kubeConfigYaml });
    locks.events$.subscribe(({ type, leaseName }) => {
      if (type === 'waiting') {
        void untilWatched(leaseName).then(() => report('watching'));
      }
    });
    raw = await RawLease.open(kubeConfigYaml, 'raw');
  },

  /** Reports `watching` when it waits for the lock and follows its Lease. @returns when it was acquired */
  async acquire(name: string): Promise<number> {
    lock = await locks.acquire(name);
    return monotonic();
  },

  /** @returns when it began */
  async release(): Promise<number> {
    const startedAt = monotonic();
    await lock.release();
    return startedAt;
  },

  createRaw: () => raw.create(),

  /** @returns when it began */
  async putRaw(): Promise<number> {
    const startedAt = monotonic();
    await raw.put();
    return startedAt;
  },

  /** Reports `raw-event` for each event of the raw Lease. */
  watchRaw: () => raw.watch(() => report('raw-event')),
};

export type PeerCalls = typeof calls;

answer(calls);
