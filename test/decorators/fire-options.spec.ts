/** Options about fires that are wrong, or mean nothing where they stand, keep the application from starting. */
import { Cron, Interval, Timeout } from '@nestjs/schedule';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WithLeaseLock } from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { decorateMethod, startLockApp } from './lock-app.js';

let server: LeaseApiServer;
beforeAll(async () => {
  server = await LeaseApiServer.start();
});
afterAll(() => server.stop());

/** Starts a pod whose job is decorated like this, as JavaScript can. */
async function startWith(
  options: Record<string, unknown>,
  decorators: MethodDecorator[],
): Promise<unknown> {
  class Job {
    async run() {}
  }
  const withLock: MethodDecorator = Reflect.apply(WithLeaseLock, undefined, [
    'job',
    options,
  ]);
  decorateMethod(Job.prototype, 'run', [...decorators, withLock]);
  return startLockApp({ providers: [Job] }, { server });
}

describe('what makes no sense keeps the application from starting', () => {
  const daily = Cron('0 3 * * *');

  it.each<[Record<string, unknown>, MethodDecorator[], string]>([
    [
      { oncePerFire: true },
      [Timeout(100_000)],
      'oncePerFire cannot be used under @Timeout: each pod counts from its own start',
    ],
    [
      { oncePerFire: 'yes' },
      [daily],
      'oncePerFire must be true or false, not "yes"',
    ],
    [
      { onFailure: 'again' },
      [daily],
      `onFailure must be 'leave' or 'retry', not "again"`,
    ],
    [
      { oncePerFire: false, onFailure: 'retry', catchUp: true },
      [daily],
      'catchUp needs oncePerFire, which is off here',
    ],
    [
      { onFailure: 'retry' },
      [],
      'onFailure needs oncePerFire, which is off here',
    ],
    [
      { onFailure: 'retry' },
      [Timeout(100_000)],
      'onFailure needs oncePerFire, which is off here',
    ],
    [
      { catchUp: true },
      [Interval(100_000)],
      'catchUp is for @Cron with a fixed lock name',
    ],
    [
      { oncePerFire: true, catchUp: true },
      [],
      'catchUp is for @Cron with a fixed lock name',
    ],
    ...[daily, Interval(100_000)].map(
      (schedule): [Record<string, unknown>, MethodDecorator[], string] => [
        { deleteOnRelease: true },
        [schedule],
        'deleteOnRelease cannot be used with oncePerFire',
      ],
    ),
  ])('%j', async (options, decorators, fault) => {
    await expect(startWith(options, decorators)).rejects.toThrow(
      `Job.run: ${fault}`,
    );
  });

  it('oncePerFire on a lock that is not the lowest', async () => {
    class Job {
      @Cron('0 3 * * *')
      @WithLeaseLock('outer', { oncePerFire: true })
      @WithLeaseLock('inner')
      async run() {}
    }
    await expect(
      startLockApp({ providers: [Job] }, { server }),
    ).rejects.toThrow(
      'Job.run: oncePerFire is for the lowest @WithLeaseLock() of a method',
    );
  });

  it('two methods that would take their fires from each other', async () => {
    class Rivals {
      @Cron('0 3 * * *')
      @WithLeaseLock('shared')
      async one() {}

      @Cron('0 4 * * *')
      @WithLeaseLock('shared')
      async two() {}
    }
    await expect(
      startLockApp({ providers: [Rivals] }, { server }),
    ).rejects.toThrow(
      `Rivals.one and Rivals.two would skip each other's fires, since they have the same lock "shared"`,
    );
  });
});
