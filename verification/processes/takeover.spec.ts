/** Shows how a lock passes on when its holder is killed or paused, and that it never does while that one lives. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeOnServer } from '../../test/api-servers.js';
import { FencedRegister } from './fenced-register.js';
import { startLocker, type Locker } from './lockers.js';
import { monotonic, type ProgramEvent } from './programs/calls.js';

const LEASE_DURATION = 2_000;
/** What a takeover may take beyond the lease itself. */
const GRACE = 2_000;

describeOnServer('a lock is taken over', (server) => {
  let doomed: Locker;
  let paused: Locker;
  let alive: Locker;
  /** Takes over from the others, or tries to. */
  let heir: Locker;
  beforeAll(async () => {
    const { kubeConfigYaml } = server;
    const options = { kubeConfigYaml, leaseDuration: LEASE_DURATION };
    [doomed, paused, alive, heir] = await Promise.all([
      startLocker(options),
      startLocker(options),
      startLocker(options, 'stepped'),
      startLocker(options, 9),
    ]);
  });
  afterAll(() =>
    Promise.all(
      [doomed, paused, alive, heir].map((each) => each[Symbol.asyncDispose]()),
    ),
  );

  it.concurrent('from a process that was killed', async () => {
    const first = await doomed.call('acquire', 'awaited');
    const firstNew = await doomed.call('acquire', 'new-to-the-heir');
    const taken = heir.call('acquire', 'awaited');
    await heir.event('waiting', { name: 'awaited' });
    await doomed.nextEvent('renewed', { name: 'awaited' });
    const killedAt = monotonic();
    doomed.signal('SIGKILL');

    // The heir has watched the one lock; the other it meets now.
    const takenNew = heir.call('acquire', 'new-to-the-heir');
    const [second, secondNew] = await Promise.all([taken, takenNew]);
    expect(second.at - killedAt).toBeLessThan(LEASE_DURATION + GRACE);
    expect(secondNew.at - killedAt).toBeLessThan(LEASE_DURATION + GRACE);
    const { sentAt } = doomed.events.findLast(
      ({ type, name }) => type === 'renewed' && name === 'awaited',
    )!;
    expect(second.at - sentAt).toBeGreaterThan(LEASE_DURATION);
    expect(second.token).toBeGreaterThan(first.token);
    expect(secondNew.token).toBeGreaterThan(firstNew.token);
  });

  it.concurrent(
    'from a process that was paused, which then knows',
    async () => {
      const register = new FencedRegister();
      for (const each of [paused, heir]) {
        each.onEvent(({ type, token }) => {
          if (type === 'write') {
            register.write(token);
          }
        });
      }
      await paused.call('acquire', 'not-looked-at');
      const first = await paused.call('acquire', 'written-under');
      await paused.call('writeCarelessly', 'written-under');
      const taken = heir.call('acquire', 'written-under');
      await heir.event('waiting', { name: 'written-under' });
      await paused.event('write');
      paused.signal('SIGSTOP');
      const second = await taken;
      await heir.call('writeCarelessly', 'written-under');
      await heir.event('write');
      paused.signal('SIGCONT');

      const lost = {
        isHeld: false,
        aborted: true,
        lossReason: 'deadline',
        assertion: 'LockLostError',
      };
      expect((await paused.event('woke')).look).toEqual(lost);
      expect(await paused.call('loss', 'not-looked-at')).toMatchObject(lost);

      // What it does from now on, up to its release, is no harm to the heir.
      await paused.nextEvent('write');
      await paused.call('release', 'written-under');
      await heir.nextEvent('renewed', { name: 'written-under' });
      expect(await heir.call('look', 'written-under')).toMatchObject({
        isHeld: true,
      });
      expect(register.refused).toContain(first.token);
      expect(register.accepted.at(-1)).toBe(second.token);
    },
  );

  it.concurrent(
    'never from one that lives, whatever the wall clocks say',
    async () => {
      await alive.call('acquire', 'alive');
      const taken = heir.call('acquire', 'alive');
      const { at: since } = await heir.event('waiting', { name: 'alive' });
      let renewal: ProgramEvent;
      do {
        // oxlint-disable-next-line no-await-in-loop -- one renewal after the other
        renewal = await alive.nextEvent('renewed');
      } while (renewal.at - since < 2 * LEASE_DURATION);
      const releasedAt = await alive.call('release', 'alive');
      expect((await taken).at).toBeGreaterThan(releasedAt);
    },
  );
});
