/** What one process can measure by itself: locks against raw writes, in turns. */
import type { LeaseLock, LockService } from 'nestjs-k8s-lock';
import { answer, monotonic } from '../../test/processes/programs/calls.js';
import { openLocks } from '../../test/processes/programs/locks.js';
import { RawLease } from './raw-leases.js';

/** Of what is measured and of its baseline, in milliseconds. */
export type Samples = [measured: number[], baseline: number[]];

let locks: LockService;
let raw: RawLease;

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const before = monotonic();
  await work();
  return monotonic() - before;
}

/** Takes both samples of a round one right after the other, so that both meet the same load. */
async function inTurns(
  rounds: number,
  measure: () => Promise<number>,
  measureBaseline: () => Promise<number>,
): Promise<Samples> {
  const samples: Samples = [[], []];
  const warmUp = rounds / 4;
  for (let round = -warmUp; round < rounds; round += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
    const baseline = await measureBaseline();
    // oxlint-disable-next-line no-await-in-loop -- as above
    const measured = await measure();
    if (round >= 0) {
      samples[0].push(measured);
      samples[1].push(baseline);
    }
  }
  return samples;
}

const calls = {
  async open(kubeConfigYaml: string): Promise<void> {
    locks = await openLocks({ kubeConfigYaml });
    raw = await RawLease.open(kubeConfigYaml, 'raw');
    await raw.create();
  },

  /** Lock and unlock against two raw PUTs. */
  cycle(rounds: number): Promise<Samples> {
    return inTurns(
      rounds,
      () =>
        timeOf(async () => {
          const lock = await locks.acquire('cycled');
          await lock.release();
        }),
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
