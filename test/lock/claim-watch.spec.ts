/** A follower of claimed work does not wait without end when the lease expires between two looks at the clock. */
import { expect, it } from 'vitest';
import { followClaim } from '../../lib/lock/claim-watch.js';
import { LeaseCell } from '../../lib/lock/lease-cell.js';
import { CLAIM, writeClaim } from '../../lib/lock/claim.js';

it('a follower sees that the holder is gone, whenever the process was paused', async () => {
  let now = 0;
  let pauseAfter = Infinity; // looks at the clock
  const timers: { at: number; callback: () => void }[] = [];
  const clock = {
    now: () => {
      const time = now;
      if (--pauseAfter === 0) now += 20_000; // a pause between two instructions
      return time;
    },
    wallMicroseconds: () => 0,
    schedule: (at: number, callback: () => void) => {
      timers.push({ at, callback });
      return () => {};
    },
    random: () => 0,
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a watch that tells nothing is all that is used
  const store = { watch: () => ({ close() {} }) } as never;
  const cell = new LeaseCell(
    { namespace: 'default', name: 'job' },
    store,
    clock,
  );
  cell.see({
    metadata: {
      name: 'job',
      uid: 'u',
      resourceVersion: '1',
      annotations: { [CLAIM]: writeClaim(60_000, 'a_1', 'begun') },
    },
    spec: {
      holderIdentity: 'a_1',
      leaseDurationSeconds: 15,
      acquireTime: 'x',
      renewTime: 'x',
      leaseTransitions: 1,
    },
  });
  now = 14_999;
  pauseAfter = 1; // judgeClaim() looks before the pause, judge() after it
  let isOver = false;
  void followClaim(
    cell,
    { at: 60_000, latest: 1e12, retry: true },
    clock,
    new AbortController().signal,
  ).finally(() => {
    isOver = true;
  });
  await new Promise(setImmediate);
  for (const { at, callback } of timers) if (at <= now + 60_000) callback();
  await new Promise(setImmediate);
  expect(isOver).toBe(true);
});
