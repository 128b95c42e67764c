/** A program that takes locks and holds on to them, while the test does something to it or to the API server. */
import {
  LockLostError,
  type AcquireOptions,
  type LeaseLock,
  type LockService,
} from 'nestjs-k8s-lock';
import { answer, monotonic, report } from './calls.js';
import { openLocks, type LocksOptions } from './locks.js';
import { skewWallClock, stepWallClock } from './wall-clock.js';
import { lastGoodWriteSentAt, traffic } from './wire.js';

/** What a handle says. */
export interface Look {
  isHeld: boolean;
  aborted: boolean;
  /** Of the signal's reason. */
  lossReason: string | undefined;
  /** What `assertHeld()` threw. */
  assertion: string | undefined;
}

export interface Loss extends Look {
  abortedAt: number;
  /** When the last renewal that succeeded was sent; as seen on the wire. */
  renewalSentAt: number | undefined;
}

const BEAT = 10;
const PAUSE = 500;

let locks: LockService;
const held = new Map<string, { lock: LeaseLock; abortedAt: Promise<number> }>();
const workEnds = new Map<string, () => void>();

function hold(name: string, lock: LeaseLock): void {
  const abortedAt = new Promise<number>((resolve) => {
    lock.signal.addEventListener('abort', () => resolve(monotonic()));
  });
  held.set(name, { lock, abortedAt });
}

/** `isHeld` comes first, for whoever asks that knows from then on; the signal at the latest by then. */
function look(name: string): Look {
  const { lock } = held.get(name)!;
  const { isHeld } = lock;
  const { aborted, reason } = lock.signal;
  let assertion: string | undefined;
  try {
    lock.assertHeld();
  } catch (error) {
    assertion = error instanceof Error ? error.name : String(error);
  }
  return {
    aborted,
    lossReason: reason instanceof LockLostError ? reason.reason : undefined,
    isHeld,
    assertion,
  };
}

const calls = {
  async open(
    options: LocksOptions,
    wallClock: 'stepped' | number = 0,
  ): Promise<void> {
    if (wallClock === 'stepped') {
      stepWallClock();
    } else if (wallClock !== 0) {
      skewWallClock(wallClock);
    }
    locks = await openLocks(options);
    locks.events$.subscribe(({ type, name, leaseName, ...event }) => {
      const reason = 'reason' in event ? event.reason : undefined;
      const operation = 'operation' in event ? event.operation : undefined;
      const sentAt = lastGoodWriteSentAt(leaseName);
      report(type, { name, reason, operation, sentAt });
    });
  },

  /** @returns the fencing token, and when the lock was held */
  async acquire(
    name: string,
    options?: AcquireOptions,
  ): Promise<{ token: bigint; at: number }> {
    const lock = await locks.acquire(name, options);
    const at = monotonic();
    hold(name, lock);
    return { token: lock.fencingToken, at };
  },

  /** @returns when the release began */
  async release(name: string): Promise<number> {
    const at = monotonic();
    await held.get(name)!.lock.release();
    return at;
  },

  look,

  /** Waits until the lock is lost. */
  async loss(name: string): Promise<Loss> {
    const { lock, abortedAt } = held.get(name)!;
    return {
      abortedAt: await abortedAt,
      ...look(name),
      renewalSentAt: lastGoodWriteSentAt(lock.leaseName),
    };
  },

  /** Runs work under a lock. It goes on until `endWork`, and then returns what the handle says, or fails. */
  workUnderLock(name: string, ending: 'returns' | 'fails'): Promise<Look> {
    return locks.withLock(name, async (lock) => {
      hold(name, lock);
      await new Promise<void>((resolve) => {
        workEnds.set(name, resolve);
        report('working', { name });
      });
      if (ending === 'fails') {
        throw new RangeError('the error of the work itself');
      }
      return look(name);
    });
  },

  endWork(name: string): void {
    workEnds.get(name)!();
  },

  async forceRelease(name: string): Promise<void> {
    await locks.forceRelease(name);
  },

  /**
   * Writes to a register under the lock's token, on and on, without a look at the lock: a holder that
   * was paused in the middle of its work does not know of it. After a pause, it reports what the
   * handle says.
   */
  writeCarelessly(name: string): void {
    const { lock } = held.get(name)!;
    let last = monotonic();
    setInterval(() => {
      const now = monotonic();
      report('write', { name, token: lock.fencingToken });
      if (now - last > PAUSE) {
        report('woke', { name, look: look(name) });
      }
      last = now;
    }, BEAT);
  },

  /** Acquires and releases a lock so many times in a row. @returns what has gone over the wire since the start */
  async cycle(
    name: string,
    times: number,
  ): Promise<ReturnType<typeof traffic>> {
    for (let done = 0; done < times; done += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
      const lock = await locks.acquire(name);
      // oxlint-disable-next-line no-await-in-loop -- as above
      await lock.release();
    }
    return traffic();
  },
};

export type LockerCalls = typeof calls;

answer(calls);
