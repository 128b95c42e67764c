/** Elections in pods that share locks in memory: one leader, its end for each reason, and the next one. */
import { firstValueFrom, lastValueFrom, of, toArray } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { clientOf } from '../../lib/lock.client.js';
import {
  LockConfigurationError,
  LockNotAcquiredError,
} from '../../lib/index.js';
import {
  OnDeposed,
  OnElected,
  type Leadership,
} from '../../lib/leader/index.js';
import { defer } from '../decorators/lock-app.js';
import { follows, leads, NAME, Pods, type Pod } from './pods.js';

let pods: Pods;
beforeEach(() => {
  pods = new Pods();
});
afterEach(() => pods[Symbol.asyncDispose]());

/** The leader closes, and the other pod leads. */
async function expectChange(one: Pod, two: Pod): Promise<void> {
  const elected = leads(two);
  await one.module.close();
  await elected;
  expect(pods.history).toEqual([
    'one elected',
    'one aborted',
    'one deposed: shutdown',
    'two elected',
  ]);
}

describe('an election', () => {
  it('has one leader, and the next in line is granted the leadership when that closes', async () => {
    const one = await pods.startLeader('one');
    const two = await pods.startFollower('two');
    expect([one.election.isLeader, two.election.isLeader]).toEqual([
      true,
      false,
    ]);
    const before = one.dispatcher.leadership!;
    const elected = leads(two);
    await one.module.close();
    // Granted by the write that released it: nobody found it free.
    expect(await two.locks.inspect(NAME)).toMatchObject({
      state: 'held',
      holder: expect.stringMatching(/^two_/),
    });
    await elected;
    const after = two.dispatcher.leadership!;
    expect(after.fencingToken).toBeGreaterThan(before.fencingToken);
    expect(pods.history).toEqual([
      'one elected',
      'one aborted',
      'one deposed: shutdown',
      'two elected',
    ]);
    expect([before.isHeld, after.isHeld]).toEqual([false, true]);
    expect(() => before.assertHeld()).toThrow('shutting down');
    after.assertHeld();
  });

  it.each([
    [
      'taken',
      async () => {
        const release = await pods.controller.stealFrom(NAME);
        await release();
      },
    ],
    ['freed', ({ locks }: Pod) => locks.forceRelease(NAME)],
    ['deadline', () => pods.controller.expireNow(NAME)],
  ])(
    'ends for the reason %s, and the process leads again',
    async (reason, act) => {
      const one = await pods.startLeader('one');
      const first = one.election.leadership!;
      const states = lastValueFrom(one.election.leader$.pipe(toArray()));
      const ended = follows(one);
      await act(one);
      await pods.controller.advance(10_000);
      await ended;
      expect(first.signal.reason).toMatchObject({ reason });
      await pods.controller.advance(20_000);
      await leads(one);
      const second = one.election.leadership!;
      expect(second).not.toBe(first);
      expect(first.isHeld).toBe(false);
      expect(second.fencingToken).toBeGreaterThan(first.fencingToken);
      expect(pods.history).toEqual([
        'one elected',
        'one aborted',
        `one deposed: ${reason}`,
        'one elected',
      ]);
      await one.module.close();
      expect(await states).toEqual([true, false, true, false]);
    },
  );

  it('passes to the next in line when its release is forced', async () => {
    const one = await pods.startLeader('one');
    const two = await pods.startFollower('two');
    const elected = leads(two);
    const ended = follows(one);
    await two.locks.forceRelease(NAME);
    await pods.controller.advance(20_000);
    await Promise.all([ended, elected]);
    expect(pods.history).toContain('one deposed: taken');
    expect(one.election.isLeader).toBe(false);
  });

  it('says by the clock of the lock whether this process leads, however late its timers are', async () => {
    const one = await pods.startLeader('one');
    const { clock } = clientOf(one.locks)!.engine;
    const { signal } = one.election.leadership!;
    const late = clock.now() + 3_600_000;
    vi.spyOn(clock, 'now').mockReturnValue(late);
    expect(one.election.isLeader).toBe(false);
    expect(one.election.leadership).toBeUndefined();
    expect(signal.aborted).toBe(true);
    vi.restoreAllMocks();
  });

  it('is contended for again only when the work of the last leadership has ended', async () => {
    const work = defer();
    const one = await pods.startLeader('one', { work: () => work.promise });
    const ended = follows(one);
    const release = await pods.controller.stealFrom(NAME);
    await ended;
    await release();
    await pods.controller.advance(60_000);
    expect(await one.locks.inspect(NAME)).toMatchObject({ state: 'free' });
    work.resolve();
    await leads(one);
  });

  it('is released by a closing application when its work has ended', async () => {
    const work = defer();
    const one = await pods.startLeader('one', { work: () => work.promise });
    const two = await pods.startFollower('two');
    const closing = one.module.close();
    await pods.settle();
    expect(one.election.isLeader).toBe(false);
    expect(pods.history).toContain('one deposed: shutdown');
    expect(two.election.isLeader).toBe(false);
    expect(await two.locks.inspect(NAME)).toMatchObject({
      holder: expect.stringMatching(/^one_/),
    });
    const elected = leads(two);
    work.resolve();
    await closing;
    await elected;
  });

  it('is released by a closing application after shutdownTimeout, whatever its work does', async () => {
    const one = await pods.startLeader('one', {
      work: () => new Promise(() => undefined),
    });
    const two = await pods.startFollower('two');
    const elected = leads(two);
    const closing = one.module.close();
    await pods.controller.advance(5_000);
    await Promise.all([closing, elected]);
    expect(pods.history.at(-1)).toBe('two elected');
  });

  it('is left by a closing application that waits in it', async () => {
    const one = await pods.startLeader('one');
    const two = await pods.startFollower('two');
    const waiting = two.election.whenLeader(() => 'never');
    const refused = Promise.allSettled([waiting]);
    await two.module.close();
    expect(await refused).toMatchObject([{ reason: { reason: 'shutdown' } }]);
    await one.module.close();
    expect(pods.history).not.toContain('two elected');
  });

  it('is held as long as possible, whatever the options of the module', async () => {
    const one = await pods.startLeader('one', {
      lock: {
        waitTimeout: 0,
        maxHold: 10_000,
        minHold: 5_000,
        autoRenew: false,
        renewInterval: 60_000,
        deleteOnRelease: true,
      },
      options: { renewInterval: 1_000 },
    });
    const two = await pods.startFollower('two', { lock: { waitTimeout: 0 } });
    await pods.controller.advance(120_000);
    expect(one.election.isLeader).toBe(true);
    await expectChange(one, two);
  });

  it("is held under the session of the process, with renewal: 'session'", async () => {
    const lock = { renewal: 'session' } as const;
    const one = await pods.startLeader('one', { lock });
    const two = await pods.startFollower('two', { lock });
    await pods.controller.advance(60_000);
    expect([one, two].map(({ election }) => election.isLeader)).toEqual([
      true,
      false,
    ]);
    await expectChange(one, two);
  });

  it('goes on after a refusal of the API server', async () => {
    const one = await pods.start('one', {
      beforeInit: () =>
        pods.controller.failNext('forbidden', { name: NAME, times: 2 }),
    });
    await pods.controller.advance(10_000);
    await leads(one);
    const refused = pods.controller.events.filter(
      ({ type }) => type === 'not-acquired',
    );
    expect(refused).toHaveLength(2);
  });
});

describe('a method under @OnElected() that fails', () => {
  it('ends the leadership, and the process contends again after a pause', async () => {
    const one = await pods.start('one', {
      work: async () => {
        throw new Error('no queue');
      },
    });
    await pods.settle();
    expect(pods.history.slice(0, 3)).toEqual([
      'one elected',
      'one aborted',
      'one deposed: released',
    ]);
    expect(pods.log.errors[0]).toContain('Dispatcher.elected has failed');
    const two = await pods.startFollower('two');
    await pods.controller.advance(10_000);
    await leads(two);
    const { length } = pods.history;
    one.dispatcher.work = () => undefined;
    const elected = leads(one);
    await two.module.close();
    await pods.controller.advance(10_000);
    await elected;
    expect(pods.history.slice(length)).toEqual([
      'two aborted',
      'two deposed: shutdown',
      'one elected',
    ]);
  });

  it('pauses longer with each failure in a row', async () => {
    await pods.start('one', {
      work: () => {
        throw new Error('no queue');
      },
    });
    await pods.controller.advance(60_000);
    const elected = pods.history.filter((what) => what === 'one elected');
    // Pauses of 50 to 100 ms that double, of 5 s at most.
    expect(elected.length).toBeGreaterThan(10);
    expect(elected.length).toBeLessThan(40);
  });

  it('may end with the error of its signal, which is no failure', async () => {
    const one = await pods.startLeader('one', {
      work: ({ signal }: Leadership) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        }),
    });
    await one.module.close();
    expect(pods.log.errors).toEqual([]);
  });
});

describe('whenLeader', () => {
  it('runs the work once, when the process leads, and passes on its result', async () => {
    const one = await pods.startLeader('one');
    const two = await pods.startFollower('two');
    const work = vi.fn<(signal: AbortSignal, term: Leadership) => string>(
      () => 'done',
    );
    const waiting = two.election.whenLeader(work);
    await pods.settle();
    expect(work).not.toHaveBeenCalled();
    await one.module.close();
    expect(await waiting).toBe('done');
    const { leadership } = two.election;
    expect(work.mock.calls).toEqual([[leadership!.signal, leadership]]);
    expect(await two.election.whenLeader(async () => 'at once')).toBe(
      'at once',
    );
  });

  it('passes on the error of the work, and the process leads on', async () => {
    const one = await pods.startLeader('one');
    const failing = one.election.whenLeader(() => {
      throw new Error('own error');
    });
    await expect(failing).rejects.toThrow('own error');
    expect(one.election.isLeader).toBe(true);
  });

  it('keeps the leadership of a closing application until the work has ended', async () => {
    const one = await pods.startLeader('one');
    const work = defer();
    const running = one.election.whenLeader(async (signal) => {
      await work.promise;
      return signal.reason.reason;
    });
    const closing = one.module.close();
    await pods.settle();
    const held = await one.locks.inspect(NAME).catch(() => undefined);
    expect(held).toMatchObject({ state: 'held' });
    work.resolve();
    expect(await running).toBe('shutdown');
    await closing;
  });

  it('refuses what is not a function, and every call after the shutdown', async () => {
    const one = await pods.startLeader('one');
    await expect(
      Reflect.apply(Reflect.get(one.election, 'whenLeader'), one.election, [
        Promise.resolve(),
      ]),
    ).rejects.toThrow(LockConfigurationError);
    await one.module.close();
    await expect(one.election.whenLeader(() => 1)).rejects.toThrow(
      LockNotAcquiredError,
    );
  });
});

describe('work that would run later', () => {
  const LAZY = [
    ['an Observable', () => of(1)],
    ['a generator', () => (function* () {})()],
    ['a generator', async () => (async function* () {})()],
  ] as const;

  it.each(LAZY)(
    'is refused under whenLeader(): %s',
    async (kind, work: () => unknown) => {
      const { election } = await pods.startLeader('one');
      await expect(election.whenLeader(work)).rejects.toThrow(
        `the function of whenLeader() returned ${kind}`,
      );
      expect(election.isLeader).toBe(true);
    },
  );

  it.each(LAZY)(
    'is a failure of @OnElected() and @OnDeposed(): %s',
    async (_, work: () => unknown) => {
      class Lazy {
        @OnElected(NAME)
        begin(): unknown {
          return work();
        }

        @OnDeposed(NAME)
        end(): unknown {
          return work();
        }
      }
      const { election } = await pods.start('one', {
        metadata: { providers: [Lazy] },
      });
      await pods.controller.advance(10); // it contends again later
      expect(election.isLeader).toBe(false);
      expect(pods.log.errors).toEqual([
        'Lazy.begin has failed, so this process stops leading',
        'Lazy.end has failed',
      ]);
      expect(pods.history).toContain('one deposed: released');
    },
  );
});

describe('leader$', () => {
  it('begins with the present state, and completes when the application closes', async () => {
    const one = await pods.startLeader('one');
    const two = await pods.startFollower('two');
    expect(await firstValueFrom(one.election.leader$)).toBe(true);
    expect(await firstValueFrom(two.election.leader$)).toBe(false);
    const states = lastValueFrom(two.election.leader$.pipe(toArray()));
    await two.module.close();
    expect(await states).toEqual([false]);
    const after = two.election.leader$.pipe(toArray());
    expect(await lastValueFrom(after)).toEqual([]);
  });

  it('does not end the election with the error of a listener', async () => {
    const one = await pods.start('one');
    one.election.leader$.subscribe(() => {
      throw new Error('own error');
    });
    await leads(one);
    expect(pods.log.errors.join()).toContain('A listener of leader$ threw');
  });
});
