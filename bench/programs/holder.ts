/** A process that takes, holds and gives back many locks, and tells what that costs it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { LeaseLock, LockService } from 'nestjs-k8s-lock';
import {
  answer,
  monotonic,
} from '../../verification/processes/programs/calls.js';
import {
  openLocks,
  type LocksOptions,
} from '../../verification/processes/programs/locks.js';
import { traffic } from '../../verification/processes/programs/wire.js';
import { RawLease } from './raw-leases.js';

const CYCLERS = 16;

let kubeConfigYaml: string;
let locks: LockService;
let waits = new AbortController();
let taking: Promise<unknown> = Promise.resolve();
let waiting = 0;
let lost = 0;
const held: LeaseLock[] = [];

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

async function take(name: string): Promise<void> {
  const lock = await locks.acquire(name, { signal: waits.signal });
  lock.signal.addEventListener('abort', () => (lost += 1));
  held.push(lock);
}

const calls = {
  async open(options: LocksOptions): Promise<void> {
    ({ kubeConfigYaml } = options);
    locks = await openLocks(options);
    locks.events$.subscribe(({ type }) => {
      waiting += type === 'waiting' ? 1 : 0;
    });
  },

  /**
   * Takes so many locks at once. Those that it has not got in the time are waited for on.
   *
   * @returns milliseconds, and how many it holds by then
   */
  async take(
    prefix: string,
    count: number,
    timeout: number,
  ): Promise<{ milliseconds: number; held: number }> {
    const startedAt = monotonic();
    taking = Promise.allSettled(
      Array.from({ length: count }, (_, index) => take(`${prefix}-${index}`)),
    );
    await Promise.race([taking, sleep(timeout, undefined, { ref: false })]);
    return { milliseconds: monotonic() - startedAt, held: held.length };
  },

  /** Gives back all that it holds, and waits no more. */
  async release(): Promise<void> {
    waits.abort();
    await taking;
    waits = new AbortController();
    await Promise.all(held.splice(0).map((lock) => lock.release()));
    lost = 0;
  },

  /** What it has in use and has done so far. */
  look() {
    collectGarbage();
    const { rss, heapUsed } = process.memoryUsage();
    return {
      ...traffic(),
      waiting,
      lost,
      rss: rss / 1e6,
      heap: heapUsed / 1e6,
      at: monotonic(),
    };
  },

  /**
   * Sends so many raw PUTs, each to a Lease that nobody else writes.
   *
   * @returns milliseconds
   */
  async putRaw(count: number, inFlight: number): Promise<number> {
    const first = await RawLease.open(kubeConfigYaml, `${process.pid}-0`);
    const all = [first];
    for (let number = 1; number < inFlight; number += 1) {
      all.push(first.named(`${process.pid}-${number}`));
    }
    await Promise.all(all.map((raw) => raw.create()));
    const startedAt = monotonic();
    let left = count;
    await Promise.all(
      all.map(async (raw) => {
        for (; left > 0; left -= 1) {
          // oxlint-disable-next-line no-await-in-loop -- one after the other, beside the others
          await raw.put();
        }
      }),
    );
    return monotonic() - startedAt;
  },

  /** Takes and gives back locks, some at a time: each tenth of a name that is used once, and deleted. */
  async cycle(times: number): Promise<void> {
    let done = 0;
    await Promise.all(
      Array.from({ length: CYCLERS }, async (_, cycler) => {
        while (done < times) {
          const number = (done += 1);
          const isOnce = number % 10 === 0;
          // oxlint-disable no-await-in-loop -- as above
          const lock = await locks.acquire(
            isOnce ? `once-${number}-${monotonic()}` : `cycled-${cycler}`,
            { deleteOnRelease: isOnce },
          );
          await lock.release();
          // oxlint-enable no-await-in-loop
        }
      }),
    );
  },
};

export type HolderCalls = typeof calls;

answer(calls);
