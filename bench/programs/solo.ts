/** What one process can measure by itself: locks against raw writes, in turns. */
import type { LeaseLock, LockService } from 'nestjs-k8s-lock';
import { answer } from '../../verification/processes/programs/calls.js';
import { openLocks } from '../../verification/processes/programs/locks.js';
import { traffic } from '../../verification/processes/programs/wire.js';
import { inTurns, timeOf, type Samples } from './in-turns.js';
import { RawLease } from './raw-leases.js';

let locks: LockService;
let raw: RawLease;

async function cycle(): Promise<void> {
  const lock = await locks.acquire('cycled');
  await lock.release();
}

const calls = {
  async open(kubeConfigYaml: string): Promise<void> {
    locks = await openLocks({ kubeConfigYaml });
    raw = await RawLease.open(kubeConfigYaml, 'raw');
    await raw.create();
  },

  /** @returns how many requests a lock and unlock take */
  async requestsOfCycle(): Promise<number> {
    await cycle(); // creates its Lease
    await cycle(); // learns of it
    const before = traffic().requests;
    await cycle();
    return traffic().requests - before;
  },

  /** Lock and unlock against two raw PUTs. */
  cycle(rounds: number): Promise<Samples> {
    return inTurns(
      rounds,
      () => timeOf(cycle),
      () =>
        timeOf(async () => {
          await raw.put();
          await raw.put();
        }),
    );
  },

  /** From the release of a lock to its acquisition by another caller, against one raw PUT. */
  async localHandover(rounds: number): Promise<Samples> {
    let lock: LeaseLock = await locks.acquire('handed-over');
    const samples = await inTurns(
      rounds,
      async () => {
        const next = locks.acquire('handed-over');
        // It has to wait by the time of the release.
        await new Promise(setImmediate);
        return timeOf(async () => {
          void lock.release();
          lock = await next;
        });
      },
      () => timeOf(() => raw.put()),
    );
    await lock.release();
    return samples;
  },
};

export type SoloCalls = typeof calls;

answer(calls);
