/** Shows what becomes of held locks when the API server hangs or crashes: they end in time. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startLocker, type Locker } from './lockers.js';
import { startMortalServer, type MortalServer } from './mortal-servers.js';
import type { Look } from './programs/locker.js';

const LEASE_DURATION = 5_000;
const REQUEST_TIMEOUT = 1_000;

/** Before anybody else can hold the lock, and not without need. */
const isInTime = (elapsed: number): boolean =>
  elapsed < LEASE_DURATION && elapsed > LEASE_DURATION / 2;

const LOST_IN_TIME = {
  isHeld: false,
  aborted: true,
  lossReason: 'deadline',
  assertion: 'LockLostError',
  elapsed: expect.toSatisfy(isInTime),
};

/** Takes a lock, and waits until it was renewed. */
async function hold(holder: Locker, name: string): Promise<void> {
  await holder.call('acquire', name);
  await holder.event('renewed', { name });
}

/** Waits until the lock is lost. `elapsed` is how long after the last good renewal was sent. */
async function lossOf(
  holder: Locker,
  name: string,
): Promise<Look & { elapsed: number }> {
  const { abortedAt, renewalSentAt, ...look } = await holder.call('loss', name);
  return { ...look, elapsed: abortedAt - renewalSentAt! };
}

describe('an outage', () => {
  let server: MortalServer;
  /** Each has locks of its own. The wall clock of the second is stepped forth and back all the time. */
  let holders: [Locker, Locker];
  const all = <T>(act: (holder: Locker) => Promise<T>): Promise<T[]> =>
    Promise.all(holders.map(act));

  beforeAll(async () => {
    server = await startMortalServer();
    const locks = {
      kubeConfigYaml: server.kubeConfigYaml,
      leaseDuration: LEASE_DURATION,
      requestTimeout: REQUEST_TIMEOUT,
    };
    holders = await Promise.all([
      startLocker({ ...locks, namePrefix: 'a-' }),
      startLocker({ ...locks, namePrefix: 'b-' }, 'stepped'),
    ]);
    await all((holder) => hold(holder, 'first'));
  });
  afterAll(async () => {
    await all((holder) => holder[Symbol.asyncDispose]());
    await server[Symbol.asyncDispose]();
  });

  it.sequential('costs nothing when it is shorter than the lease', async () => {
    const failures = all((holder) => holder.nextEvent('backend-error'));
    server.hang();
    await failures;
    const renewals = all((holder) => holder.nextEvent('renewed'));
    server.recover();
    await renewals;
    const looks = await all((holder) => holder.call('look', 'first'));
    expect(looks).toMatchObject([{ isHeld: true }, { isHeld: true }]);
  });

  it.sequential(
    'leaves the error of the work what it is, though the release fails',
    async () => {
      const [worker] = holders;
      const work = worker.call('workUnderLock', 'worked-under', 'fails');
      await worker.event('working');
      server.hang();
      await worker.call('endWork', 'worked-under');
      await expect(work).rejects.toMatchObject({
        name: 'RangeError',
        message: 'the error of the work itself',
      });
      await worker.event('backend-error', { operation: 'release' });
      server.recover();
    },
  );

  it.sequential(
    'aborts the signal before the lease ends, when the server hangs',
    async () => {
      server.hang();
      const losses = await all((holder) => lossOf(holder, 'first'));
      server.recover();
      expect(losses).toEqual([LOST_IN_TIME, LOST_IN_TIME]);
    },
  );

  it.sequential(
    'aborts the signal before the lease ends, when connections are refused',
    async () => {
      // What was sent while the server hung may have landed since: these locks can be had all the same.
      await all((holder) => holder.call('release', 'first'));
      await all((holder) => holder.call('acquire', 'first'));
      await all((holder) => hold(holder, 'second'));
      await server.crash();
      const losses = await all((holder) => lossOf(holder, 'second'));
      expect(losses).toEqual([LOST_IN_TIME, LOST_IN_TIME]);
    },
  );
});
