/** A program that counts in files which nothing protects but a lock: read, pause, write. */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LockService } from 'nestjs-k8s-lock';
import { answer, report } from './calls.js';
import { openLocks, type LocksOptions } from './locks.js';
import { Dice } from './dice.js';
import { skewWallClock } from './wall-clock.js';

/** A counter, and the lock that is to protect it. */
export interface Counter {
  file: string;
  /** Undefined: nothing does. */
  lock?: string;
}

/** One increment: what was read, and under which token. */
export interface Increment {
  read: number;
  token: bigint | undefined;
}

export interface CountTask {
  counter: Counter;
  times: number;
  /** `together`: between reading and writing, wait for the call of `goOn`. */
  pause: 'random' | 'together';
}

export interface FuzzTask {
  seed: number;
  counters: (Counter & { lock: string })[];
  /** How many workers of this process there are at once. */
  workers: number;
  /** How many increments each of them makes, on counters of its choice. */
  times: number;
}

let locks: LockService;
let goOn: (() => void) | undefined;

async function increment(
  file: string,
  pause: () => Promise<unknown>,
): Promise<number> {
  const read = Number(readFileSync(file, 'utf8'));
  await pause();
  writeFileSync(file, String(read + 1));
  return read;
}

const randomPause = () => sleep(Math.random() * 5);

function pauseTogether(): Promise<void> {
  return new Promise((resolve) => {
    goOn = resolve;
    report('read');
  });
}

/** One increment in a way that the dice choose. @returns false when the lock was not acquired after all */
async function incrementSomehow(
  dice: Dice,
  { file, lock: name }: { file: string; lock: string },
): Promise<boolean> {
  const pause = () => sleep(dice.below(10));
  switch (dice.below(4)) {
    case 0: {
      await locks.withLock(name, () => increment(file, pause));
      return true;
    }
    case 1: {
      const lock = await locks.tryAcquire(name);
      if (lock === undefined) {
        return false;
      }
      await increment(file, pause);
      await lock.release();
      return true;
    }
    case 2: {
      const signal = AbortSignal.timeout(dice.below(30));
      const lock = await locks.acquire(name, { signal }).catch(() => undefined);
      if (lock === undefined) {
        return false;
      }
      await increment(file, pause);
      // Not awaited: the next acquisition overtakes it.
      void lock.release();
      return true;
    }
    default: {
      const waitTimeout = dice.below(30);
      return locks
        .withLock(name, { waitTimeout }, () => increment(file, pause))
        .then(
          () => true,
          () => false,
        );
    }
  }
}

const calls = {
  async open(options: LocksOptions, hoursOff = 0): Promise<void> {
    skewWallClock(hoursOff);
    locks = await openLocks(options);
  },

  async count({ counter, times, pause }: CountTask): Promise<Increment[]> {
    const wait = pause === 'random' ? randomPause : pauseTogether;
    const increments: Increment[] = [];
    for (let done = 0; done < times; done += 1) {
      const { file, lock: name } = counter;
      if (name === undefined) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
        increments.push({
          read: await increment(file, wait),
          token: undefined,
        });
        continue;
      }
      // oxlint-disable-next-line no-await-in-loop -- as above
      await locks.withLock(name, async ({ fencingToken: token }) => {
        increments.push({ read: await increment(file, wait), token });
      });
    }
    return increments;
  },

  /** Ends the pause of a count that pauses together with others. */
  goOn(): void {
    goOn!();
  },

  /** @returns how often each counter was incremented */
  async fuzz({
    seed,
    counters,
    workers,
    times,
  }: FuzzTask): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    const work = async (dice: Dice): Promise<void> => {
      for (let done = 0; done < times;) {
        const counter = dice.pick(counters);
        // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
        if (await incrementSomehow(dice, counter)) {
          counts[counter.file] = (counts[counter.file] ?? 0) + 1;
          done += 1;
        }
        // oxlint-disable-next-line no-await-in-loop -- as above
        await sleep(dice.below(3));
      }
    };
    await Promise.all(
      Array.from({ length: workers }, (_, index) =>
        work(new Dice(seed * workers + index)),
      ),
    );
    return counts;
  },
};

export type CounterCalls = typeof calls;

answer(calls);
