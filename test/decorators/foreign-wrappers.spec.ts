/** oncePerFire works with other decorators between the scheduler and the lock, with other providers, with super, and with jobs that the application adds. */
import { Inject, Injectable, Logger, Module, type Type } from '@nestjs/common';
import { Cron, Interval, SchedulerRegistry, Timeout } from '@nestjs/schedule';
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  K8sLockModule,
  WithLeaseLock,
  type K8sLockModuleOptions,
} from '../../lib/index.js';
import { ScheduledMethods } from '../../lib/schedule/scheduled-methods.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { claimOf, CronPod, UTC, YEARLY, type CallEnd } from './cron-pods.js';
import {
  decorateMethod,
  defer,
  permute,
  startLockApp,
  WarningLog,
} from './lock-app.js';
import { eventually } from '../support/eventually.js';

const { CronJob } = createRequire(
  createRequire(import.meta.url).resolve('@nestjs/schedule'),
)('cron');

/** The period of an interval, nearly the longest that a timer can have: every tick of a test is for the same fire. */
const LONG = 2_000_000_000;

const work = vi.fn<() => unknown>();

let server: LeaseApiServer;
beforeEach(async () => {
  server = await LeaseApiServer.start();
});
afterEach(async () => {
  vi.resetAllMocks();
  await server.stop();
});

type Wrap = (call: () => unknown) => unknown;

/** A decorator that replaces the method, as those of other packages do. `changeThis` makes the object on which it calls it. */
function wrapping(
  wrap: Wrap,
  copiesMetadata: boolean,
  changeThis = (instance: object): object => instance,
): MethodDecorator {
  return (_target, _key, descriptor) => {
    const original: unknown = descriptor.value;
    if (typeof original !== 'function') {
      throw new Error('not a method');
    }
    const wrapper = function (this: object, ...args: unknown[]): unknown {
      return wrap(() => Reflect.apply(original, changeThis(this), args));
    };
    if (copiesMetadata) {
      for (const key of Reflect.getMetadataKeys(original)) {
        const value: unknown = Reflect.getMetadata(key, original);
        Reflect.defineMetadata(key, value, wrapper);
      }
    }
    Object.assign(descriptor, { value: wrapper });
  };
}

const WRAPS: Record<string, Wrap> = {
  'calls at once': (call) => call(),
  'awaits first': async (call) => {
    await nextTurn();
    return call();
  },
  'lets go of the promise': (call) => {
    setImmediate(call);
  },
};

/** Fires the job in each of three replicas, one after the other, and resolves with what came of it. */
async function fireInAll(
  classes: readonly Type[],
  job = 'job',
): Promise<string[]> {
  const pods = await Promise.all(
    Array.from({ length: 3 }, () => CronPod.start(server, ...classes)),
  );
  const ends: CallEnd[] = [];
  for (const pod of pods) {
    // oxlint-disable-next-line no-await-in-loop -- the clocks of the later ones are late
    ends.push(await pod.tick(job));
    // oxlint-disable-next-line no-await-in-loop
    await eventually(() => expect(isFree()).toBe(true));
  }
  await Promise.all(pods.map((pod) => pod[Symbol.asyncDispose]()));
  return ends.map((end) =>
    'reason' in end ? `${end.type} ${end.reason}` : end.type,
  );
}

function isFree(): boolean {
  return server.leases('default').every(({ spec }) => !spec?.holderIdentity);
}

const ONCE = ['executed', 'skipped fire-claimed', 'skipped fire-claimed'];

describe.each(Object.entries(WRAPS))('a decorator that %s', (_, wrap) => {
  it.each([true, false])(
    'in any place, copying metadata: %s',
    async (copiesMetadata) => {
      const cron = Cron(YEARLY, { ...UTC, name: 'job' });
      const lock = WithLeaseLock('lock') as MethodDecorator;
      const orders = permute(['cron', 'lock', 'wrapper']).filter(
        // Without its metadata no scheduler finds the method below.
        (order) =>
          copiesMetadata || order.indexOf('cron') < order.indexOf('wrapper'),
      );
      for (const order of orders) {
        class Jobs {
          async run() {
            work();
          }
        }
        const decorators = order.map(
          (name) =>
            ({ cron, lock, wrapper: wrapping(wrap, copiesMetadata) })[name]!,
        );
        decorateMethod(Jobs.prototype, 'run', decorators);
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        expect([order, await fireInAll([Jobs])]).toEqual([order, ONCE]);
        expect(work).toHaveBeenCalledOnce();
        work.mockClear();
        // oxlint-disable-next-line no-await-in-loop
        await server.stop();
        // oxlint-disable-next-line no-await-in-loop
        server = await LeaseApiServer.start();
      }
    },
  );
});

it('a decorator that passes the call on to a queue is warned of', async () => {
  const calls: (() => unknown)[] = [];
  // It was started before, and so goes on in a context of its own.
  const queue = setInterval(() => calls.shift()?.(), 5);
  class Jobs {
    @Cron(YEARLY, { ...UTC, name: 'job' })
    @wrapping((call) => void calls.push(call), true)
    @WithLeaseLock('lock')
    async run() {
      work();
    }
  }
  using warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
  const warnings = () =>
    warn.mock.calls.filter(([text]) =>
      String(text).startsWith(
        'Jobs.run was called outside of the async context',
      ),
    );
  await using pod = await CronPod.start(server, Jobs);
  expect((await pod.tick('job')).type).toBe('executed');
  expect((await pod.tick('job')).type).toBe('executed');
  expect(warnings()).toHaveLength(1);
  clearInterval(queue);
});

const OTHER_THIS: Record<string, (instance: object) => object> = {
  'inherits from the instance': (instance) =>
    Object.create(instance, { tenant: { value: 'a' } }),
  'inherits from it twice': (instance) =>
    Object.create(Object.create(instance)),
  'is a Proxy around an object that inherits from it': (instance) =>
    new Proxy(Object.create(instance), {}),
  'is a Proxy that throws when its own properties are read': (instance) =>
    new Proxy(Object.create(instance), {
      getOwnPropertyDescriptor: () => {
        throw new Error('strict');
      },
    }),
};

describe.each(Object.entries(OTHER_THIS))(
  'a decorator that calls the method on an object that %s',
  (_, changeThis) => {
    const onOther = (wrap: Wrap): MethodDecorator =>
      wrapping(wrap, true, changeThis);
    const cron = Cron(YEARLY, { ...UTC, name: 'job' });

    it.each([{}, { oncePerFire: true }])(
      'runs each fire once with %j',
      async (options) => {
        class Jobs {
          @cron
          @onOther((call) => call())
          @WithLeaseLock('lock', options)
          async run() {
            work();
          }
        }
        expect(await fireInAll([Jobs])).toEqual(ONCE);
        expect(work).toHaveBeenCalledOnce();
      },
    );

    it('runs each fire of a prototype without a constructor once', async () => {
      class Jobs {
        @cron
        @onOther((call) => call())
        @WithLeaseLock('lock')
        async run() {
          work();
        }
      }
      Reflect.deleteProperty(Jobs.prototype, 'constructor');
      expect(await fireInAll([Jobs])).toEqual(ONCE);
    });

    it('runs each fire of an interval with a fake timer once', async () => {
      class Jobs {
        @Interval('job', LONG)
        @onOther((call) => call())
        @WithLeaseLock('lock')
        async run() {
          work();
        }
      }
      vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
      try {
        await using pod = await CronPod.start(server, Jobs);
        const end = pod.next();
        vi.advanceTimersByTime(LONG);
        expect(await end).toMatchObject({ fire: expect.any(Date) });
      } finally {
        vi.useRealTimers();
      }
    });

    it('is warned of if it has lost the async context', async () => {
      const calls: (() => unknown)[] = [];
      class Jobs {
        @cron
        @onOther((call) => void calls.push(call))
        @WithLeaseLock('lock')
        async run() {
          work();
        }
      }
      using warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
      await using pod = await CronPod.start(server, Jobs);
      const end = pod.tick('job');
      calls.shift()!();
      expect(await end).not.toHaveProperty('fire');
      expect(warn.mock.calls.flat().join()).toContain(
        'Jobs.run was called outside of the async context',
      );
    });
  },
);

it('an override without a schedule has not that of the method which it overrides', async () => {
  @Injectable()
  class Base {
    @Cron(YEARLY, { ...UTC, name: 'base' })
    @WithLeaseLock('base')
    async run() {
      work();
    }
  }
  @Injectable()
  class Derived extends Base {
    @WithLeaseLock('derived', { oncePerFire: true })
    override async run() {
      work();
    }
  }
  @Injectable()
  class Jobs {
    constructor(@Inject(Derived) private readonly derived: Derived) {}

    @Cron(YEARLY, { ...UTC, name: 'job' })
    async run() {
      await this.derived.run();
    }
  }
  expect(await fireInAll([Base, Derived, Jobs])).toEqual(ONCE);
});

describe('behind a decorator that copies nothing', () => {
  const opaque = wrapping((call) => call(), false);

  it('the options are checked, and catchUp is in force', async () => {
    class Faulty {
      @Cron(YEARLY)
      @opaque
      @WithLeaseLock('lock', { onFailure: 'retry', oncePerFire: false })
      async run() {}
    }
    await expect(CronPod.start(server, Faulty)).rejects.toThrow(
      'Faulty.run: onFailure needs oncePerFire, which is off here',
    );
    const jobs = (catchUp: boolean, cronTime: string): Type => {
      class Jobs {
        @Cron(cronTime, { ...UTC, name: 'job' })
        @opaque
        @WithLeaseLock('lock', { catchUp })
        async run() {
          work();
        }
      }
      return Jobs;
    };
    {
      await using pod = await CronPod.start(server, jobs(false, YEARLY));
      await pod.tick('job');
    }
    await using late = await CronPod.start(server, jobs(true, '0 * * * *'));
    expect((await late.firstEnd()).type).toBe('executed');
    expect(work).toHaveBeenCalledTimes(2);
  });

  it('a fire that was cut short is run again under onFailure: retry', async () => {
    class Jobs {
      @Cron(YEARLY, { ...UTC, name: 'job' })
      @opaque
      @WithLeaseLock('lock', { onFailure: 'retry' })
      async run() {
        await work();
      }
    }
    {
      work.mockReturnValueOnce(new Promise(() => undefined));
      await using pod = await CronPod.start(server, Jobs);
      void pod.tick('job').catch(() => undefined);
      await eventually(() => expect(work).toHaveBeenCalledOnce());
    }
    await using next = await CronPod.start(server, Jobs);
    expect((await next.tick('job')).type).toBe('executed');
  });
});

describe('a method that is replaced after the start', () => {
  it.each(['instance', 'prototype'] as const)(
    'on its %s, is the one of its job still',
    async (where) => {
      class Jobs {
        @Cron(YEARLY, { ...UTC, name: 'job' })
        @WithLeaseLock('replaced')
        async run() {
          work();
        }
      }
      for (const _ of [1, 2]) {
        // oxlint-disable-next-line no-await-in-loop -- one pod after the other
        await using pod = await CronPod.start(server, Jobs);
        const jobs = pod.get(Jobs);
        const run: () => Promise<void> = Reflect.get(Jobs.prototype, 'run');
        const target = where === 'instance' ? jobs : Jobs.prototype;
        target.run = async (): Promise<void> => Reflect.apply(run, jobs, []);
        // oxlint-disable-next-line no-await-in-loop
        await pod.tick('job');
        Jobs.prototype.run = run;
      }
      expect(work).toHaveBeenCalledOnce();
      expect(claimOf(server, 'replaced')).toMatch(/done$/);
    },
  );
});

it('a method that a constructor replaces, so that it has no job, leaves the jobs of others to them', async () => {
  class Jobs {
    constructor() {
      this.first = this.first.bind(this);
    }

    @Cron(YEARLY, UTC)
    @WithLeaseLock('first')
    async first() {}

    @Cron(YEARLY, UTC)
    @WithLeaseLock('second')
    async second() {
      work();
    }
  }
  for (const _ of [1, 2]) {
    // oxlint-disable-next-line no-await-in-loop -- one pod after the other
    await using pod = await CronPod.start(server, Jobs);
    const [name] = pod.registry.getCronJobs().keys();
    // oxlint-disable-next-line no-await-in-loop
    await pod.tick(name!);
  }
  expect(work).toHaveBeenCalledOnce();
});

describe('a locked method that a scheduled one calls', () => {
  @Injectable()
  class Mailer {
    @WithLeaseLock('lock', { oncePerFire: true })
    async send() {
      work();
    }
  }

  @Injectable()
  class Jobs {
    constructor(@Inject(Mailer) private readonly mailer: Mailer) {}

    @Cron(YEARLY, { ...UTC, name: 'job' })
    async run() {
      await nextTurn();
      await this.mailer.send();
    }

    @Cron(YEARLY, { ...UTC, name: 'detached' })
    async detach() {
      setImmediate(() => void this.mailer.send());
    }
  }

  it('of another provider, runs once with oncePerFire: true', async () => {
    expect(await fireInAll([Jobs, Mailer])).toEqual(ONCE);
  });

  it('that is scheduled itself is called by hand without a word', async () => {
    class Own {
      @Cron(YEARLY, { ...UTC, name: 'job' })
      @WithLeaseLock('lock')
      async run() {
        work();
      }
    }
    using warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
    await using pod = await CronPod.start(server, Own);
    await pod.get(Own).run();
    await pod.tick('job');
    await eventually(() => expect(isFree()).toBe(true));
    await pod.get(Own).run();
    expect(work).toHaveBeenCalledTimes(3);
    expect(warn).not.toHaveBeenCalled();
  });

  it('by hand, or after the call of the scheduler has ended, runs and is warned of once', async () => {
    using warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
    await using pod = await CronPod.start(server, Jobs, Mailer);
    await pod.get(Mailer).send();
    const detached = await pod.tick('detached');
    expect(detached.type).toBe('executed');
    expect(detached).not.toHaveProperty('fire');
    expect(work).toHaveBeenCalledTimes(2);
    expect(
      warn.mock.calls.filter(([text]) =>
        String(text).startsWith('Mailer.send has oncePerFire: true'),
      ),
    ).toHaveLength(1);
  });

  it('of its base class, by super, runs once', async () => {
    class Base {
      @WithLeaseLock('lock')
      async run() {
        work();
      }
    }
    class Derived extends Base {
      @Cron(YEARLY, { ...UTC, name: 'job' })
      override async run() {
        await nextTurn();
        await super.run();
      }
    }
    expect(await fireInAll([Derived])).toEqual(ONCE);
  });

  it('for a job that the application adds, runs once with oncePerFire: true', async () => {
    const pods = [
      await CronPod.start(server, Mailer),
      await CronPod.start(server, Mailer),
    ];
    for (const pod of pods) {
      pod.registry.addCronJob(
        'mine',
        new CronJob(YEARLY, () => pod.get(Mailer).send(), null, false, 'UTC'),
      );
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await pod.tick('mine');
      // oxlint-disable-next-line no-await-in-loop
      await eventually(() => expect(isFree()).toBe(true));
    }
    await Promise.all(pods.map((pod) => pod[Symbol.asyncDispose]()));
    expect(work).toHaveBeenCalledOnce();
  });

  it('for an interval that the application adds, runs once with oncePerFire: true', async () => {
    await using pod = await CronPod.start(server, Mailer);
    const timer = setInterval(() => void pod.get(Mailer).send(), 3_600_000);
    pod.registry.addInterval('mine', timer);
    const first = pod.next();
    void pod.tickInterval('mine');
    expect((await first).type).toBe('executed');
    await eventually(() => expect(isFree()).toBe(true));
    const second = pod.next();
    void pod.tickInterval('mine');
    expect((await second).type).toBe('skipped');
    expect(work).toHaveBeenCalledOnce();
  });
});

/** Fires a job that is added for the method, twice, and that of the method, in each of two replicas; gives the warnings. */
async function fireAdded(
  jobs: Type<{ run(): Promise<void> }>,
): Promise<string[]> {
  using warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
  for (const _ of [1, 2]) {
    // oxlint-disable-next-line no-await-in-loop -- one pod after the other
    await using pod = await CronPod.start(server, jobs);
    const run = (): Promise<void> => pod.get(jobs).run();
    pod.registry.addCronJob(
      'mine',
      new CronJob('0 0 2 1 *', run, null, false, 'UTC'),
    );
    for (const job of ['mine', 'mine', 'job']) {
      // oxlint-disable-next-line no-await-in-loop
      await pod.tick(job);
      // oxlint-disable-next-line no-await-in-loop
      await eventually(() => expect(isFree()).toBe(true));
    }
  }
  return warn.mock.calls
    .map(([text]) => String(text))
    .filter((text) => text.startsWith('Jobs.run was called by a job'));
}

describe('a job that the application adds for a method under @Cron', () => {
  it('runs in each pod, and is warned of once, while the fire of its own schedule is run once', async () => {
    class Jobs {
      @Cron(YEARLY, { ...UTC, name: 'job' })
      @WithLeaseLock('lock')
      async run() {
        work();
      }
    }
    expect(await fireAdded(Jobs)).toHaveLength(1);
    expect(work).toHaveBeenCalledTimes(2 + 1 + 2);
  });

  it('runs once for each of its fires with oncePerFire: true', async () => {
    class Jobs {
      @Cron('0 0 3 1 *', { ...UTC, name: 'job' })
      @WithLeaseLock('lock', { oncePerFire: true })
      async run() {
        work();
      }
    }
    expect(await fireAdded(Jobs)).toEqual([]);
    expect(work).toHaveBeenCalledTimes(2);
  });
});

describe.each(['constructor', 'onModuleInit'])(
  'a job that the application adds under a UUID in its %s',
  (hook) => {
    const OWN = '0 0 0 1 1 *';
    const UUIDS: Record<'cron' | 'interval', string> = {
      cron: randomUUID(),
      interval: randomUUID(),
    };
    const ADDED = 1_700_000_000;

    @Injectable()
    class Mailer {
      @WithLeaseLock('added', { oncePerFire: true, onLocked: 'skip' })
      async send() {}
    }
    @Injectable()
    class Jobs {
      @Cron(OWN, UTC)
      @WithLeaseLock('own-cron')
      async cron() {}

      @Interval(LONG)
      @WithLeaseLock('own-interval')
      async interval() {}
    }
    @Injectable()
    class Adder {
      constructor(
        @Inject(SchedulerRegistry) private readonly registry: SchedulerRegistry,
        @Inject(Mailer) private readonly mailer: Mailer,
      ) {
        if (hook === 'constructor') {
          this.add();
        }
      }

      onModuleInit(): void {
        if (hook === 'onModuleInit') {
          this.add();
        }
      }

      private add(): void {
        const send = (): void => void this.mailer.send();
        const job = new CronJob(OWN, send, null, false, 'UTC');
        this.registry.addCronJob(UUIDS.cron, job);
        this.registry.addInterval(UUIDS.interval, setInterval(send, ADDED));
      }
    }

    it('is not taken for that of a method without a name, whose fires run once', async () => {
      using warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
      const ends: string[] = [];
      for (const _ of [1, 2]) {
        // oxlint-disable no-await-in-loop -- one pod after the other
        await using pod = await CronPod.start(server, Mailer, Jobs, Adder);
        const other = (names: Iterable<string>): string =>
          [...names].find((name) => !Object.values(UUIDS).includes(name))!;
        const cron = await pod.tick(other(pod.registry.getCronJobs().keys()));
        const end = pod.next();
        void pod.tickInterval(other(pod.registry.getIntervals()));
        const interval = await end;
        ends.push(`${cron.name} ${cron.type}`);
        ends.push(`${interval.name} ${interval.type}`);
        await eventually(() => expect(isFree()).toBe(true));
        // oxlint-enable no-await-in-loop
      }
      expect(ends).toEqual([
        'own-cron executed',
        'own-interval executed',
        'own-cron skipped',
        'own-interval skipped',
      ]);
      expect(warn).not.toHaveBeenCalled();
    });

    it('has fires of its own', async () => {
      await using pod = await CronPod.start(server, Mailer, Jobs, Adder);
      const byInterval = pod.next();
      void pod.tickInterval(UUIDS.interval);
      const end = await byInterval;
      expect('fire' in end && end.fire && end.fire.getTime() % ADDED).toBe(0);
      await eventually(() => expect(isFree()).toBe(true));
      // An earlier fire, which is claimed by that.
      expect(await pod.tick(UUIDS.cron)).toMatchObject({
        type: 'skipped',
        name: 'added',
      });
    });
  },
);

it('a job of a method without a name keeps its method when it was deleted and added again', async () => {
  class Jobs {
    @Cron(YEARLY, UTC)
    @WithLeaseLock('first')
    async first() {}

    @Cron(YEARLY, { ...UTC, timeZone: 'Europe/Berlin' })
    @WithLeaseLock('second')
    async second() {}
  }
  await using pod = await CronPod.start(server, Jobs);
  const [name = ''] = pod.registry.getCronJobs().keys();
  pod.registry.deleteCronJob(name);
  const job = new CronJob(YEARLY, () => pod.get(Jobs).first());
  pod.registry.addCronJob(name, job);
  expect(await pod.tick(name)).toMatchObject({ fire: expect.any(Date) });
});

it('without the SchedulerOrchestrator, a job under a UUID is taken for that of the method with its times', () => {
  const schedule = { type: 'cron', options: { cronTime: YEARLY } } as const;
  const method = { instance: {}, prototype: {}, key: 'run', schedule };
  for (const orchestrator of [undefined, {}]) {
    const methods = new ScheduledMethods([method], orchestrator);
    const { cronTime } = new CronJob(YEARLY, () => undefined);
    expect(methods.ofCronJob('mine', cronTime)).toBeUndefined();
    expect(methods.ofCronJob(randomUUID(), cronTime)).toBe(method);
    expect(methods.ofCronJob(randomUUID(), cronTime)).toBeUndefined();
  }
});

describe('an interval whose timer is a fake one', () => {
  @Injectable()
  class Jobs {
    @Interval('job', 3_600_000)
    @WithLeaseLock('lock', { onLocked: 'wait' })
    async run() {
      work();
    }
  }
  afterEach(() => {
    vi.useRealTimers();
  });

  const callByHand = async (pod: CronPod): Promise<CallEnd> => {
    const end = pod.next();
    await pod.get(Jobs).run();
    await eventually(() => expect(isFree()).toBe(true));
    return end;
  };

  it('is counted as the scheduler while it is faked, and no longer', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    await using faked = await CronPod.start(server, Jobs);
    const end = faked.next();
    vi.advanceTimersByTime(3_600_000);
    expect(await end).toMatchObject({ fire: expect.any(Date) });
    await eventually(() => expect(isFree()).toBe(true));
    await using other = await startLockApp({ providers: [Jobs] }, { server });
    await other.app.get(Jobs).run();
    vi.useRealTimers();
    expect(await callByHand(faked)).not.toHaveProperty('fire');
    await using later = await CronPod.start(server, Jobs);
    expect(await callByHand(later)).not.toHaveProperty('fire');
    expect(work).toHaveBeenCalledTimes(4);
  });
});

it('an interval whose timer is a number, as in a browser, is counted as the scheduler', async () => {
  class Jobs {
    @Interval('job', 3_600_000)
    @WithLeaseLock('lock')
    async run() {
      work();
    }
  }
  using timer = vi.spyOn(globalThis, 'setInterval');
  timer.mockReturnValueOnce(Object(7).valueOf());
  await using pod = await CronPod.start(server, Jobs);
  expect(pod.registry.getInterval('job')).toBe(7);
  await pod.get(Jobs).run();
  expect(claimOf(server, 'lock')).toMatch(/ done$/);
});

describe('a job with waitForCompletion', () => {
  it('that leaves out a fire leads to no warning', async () => {
    const done = defer();
    class Jobs {
      @Cron(YEARLY, { ...UTC, name: 'job', waitForCompletion: true })
      @WithLeaseLock('lock')
      async run() {
        work();
        await done.promise;
      }
    }
    using warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
    await using pod = await CronPod.start(server, Jobs);
    const end = pod.tick('job');
    await eventually(() => expect(work).toHaveBeenCalledOnce());
    pod.job('job').lastExecution = new Date();
    void pod.job('job').fireOnTick();
    done.resolve();
    await end;
    await eventually(() => expect(isFree()).toBe(true));
    await pod.get(Jobs).run();
    expect(work).toHaveBeenCalledTimes(2);
    expect(warn).not.toHaveBeenCalled();
  });

  it('knows its fire in each of its callbacks, also in one that it has got later', async () => {
    @Injectable()
    class Mailer {
      @WithLeaseLock('lock', { oncePerFire: true })
      async send() {
        work();
      }
    }
    class Jobs {
      @Cron(YEARLY, { ...UTC, name: 'job', waitForCompletion: true })
      async run() {
        await nextTurn();
      }
    }
    for (const _ of [1, 2]) {
      // oxlint-disable-next-line no-await-in-loop -- one pod after the other
      await using pod = await CronPod.start(server, Jobs, Mailer);
      pod.job('job').addCallback(async () => {
        await nextTurn();
        await pod.get(Mailer).send();
      });
      // oxlint-disable-next-line no-await-in-loop
      await pod.tick('job');
      // oxlint-disable-next-line no-await-in-loop
      await eventually(() => expect(isFree()).toBe(true));
    }
    expect(work).toHaveBeenCalledOnce();
  });
});

describe('a tick belongs to its job', () => {
  it('and is not the fire of another scheduled method that it calls', async () => {
    class Jobs {
      @Cron(YEARLY, { ...UTC, name: 'job' })
      @WithLeaseLock('lock')
      async run() {
        work();
      }

      @Cron('0 0 * * *', { ...UTC, name: 'other' })
      async other() {
        await this.run();
      }
    }
    await using pod = await CronPod.start(server, Jobs);
    for (const job of ['other', 'other', 'job']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await pod.tick(job)).type).toBe('executed');
      // oxlint-disable-next-line no-await-in-loop
      await eventually(() => expect(isFree()).toBe(true));
      expect(claimOf(server, 'lock') === undefined).toBe(job === 'other');
    }
  });

  it('also where several jobs with the same times have no name', async () => {
    class Jobs {
      @Cron(YEARLY, UTC)
      @WithLeaseLock('one')
      async one() {
        work();
      }

      @Cron(YEARLY, UTC)
      async unlocked() {}

      @Cron(YEARLY, UTC)
      @WithLeaseLock('two')
      async two() {
        await this.one();
      }
    }
    await using pod = await CronPod.start(server, Jobs);
    const names = [...pod.registry.getCronJobs().keys()];
    const callOf = new Map<string, string>();
    for (const name of [names[2]!, names[0]!]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const end = await pod.tick(name);
      callOf.set(
        name,
        `${end.name} ${'fire' in end && end.fire !== undefined}`,
      );
      // oxlint-disable-next-line no-await-in-loop
      await eventually(() => expect(isFree()).toBe(true));
    }
    expect([...callOf.values()]).toEqual(['one false', 'one true']);
    expect(claimOf(server, 'two')).toMatch(/ done$/);
  });

  it('and a job that has got its times anew by deleting it is still the one of its method', async () => {
    class Jobs {
      @Cron(YEARLY, { ...UTC, name: 'job' })
      @WithLeaseLock('lock')
      async run() {
        work();
      }
    }
    await using pod = await CronPod.start(server, Jobs);
    pod.registry.deleteCronJob('job');
    pod.registry.addCronJob(
      'job',
      new CronJob('0 0 2 1 *', () => pod.get(Jobs).run(), null, false, 'UTC'),
    );
    expect(await pod.tick('job')).toMatchObject({ fire: expect.any(Date) });
  });
});

describe('a call by hand of a job that has fired', () => {
  class Jobs {
    @Cron(YEARLY, { ...UTC, name: 'job' })
    @WithLeaseLock('lock')
    async run() {
      work();
    }
  }

  it('is no second call of the scheduler', async () => {
    await using pod = await CronPod.start(server, Jobs);
    await pod.tick('job');
    await eventually(() => expect(isFree()).toBe(true));
    const end = pod.next();
    void pod.job('job').fireOnTick();
    expect((await end).type).toBe('executed');
    expect(await end).not.toHaveProperty('fire');
  });

  it('nor is it after two fires with one date', async () => {
    await using pod = await CronPod.start(server, Jobs);
    const job = pod.job('job');
    void job.stop();
    using getTimeout = vi
      .spyOn(job.cronTime, 'getTimeout')
      .mockReturnValueOnce(-1)
      .mockReturnValue(60_000);
    job.lastExecution = new Date();
    job.start();
    void job.fireOnTick();
    await eventually(() => expect(pod.ends).toHaveLength(2));
    expect(getTimeout).toHaveBeenCalled();
    await eventually(() => expect(isFree()).toBe(true));
    const end = pod.next();
    void job.fireOnTick();
    expect((await end).type).toBe('executed');
    expect(await end).not.toHaveProperty('fire');
  });
});

/** A module of this name, with a class of its own whose name is always the same. */
function makeModule(name: string): Type {
  class Report {
    @Cron(YEARLY)
    @WithLeaseLock('lock')
    async run() {}
  }
  @Module({ providers: [Report] })
  class Feature {
    readonly module = name;
  }
  Object.defineProperty(Feature, 'name', { value: name });
  return Feature;
}

/** A module with a LockService of its own, and a job under it. */
async function makeTenant(
  api: LeaseApiServer,
  options: K8sLockModuleOptions,
  lock: string,
  name: string,
): Promise<Type> {
  class Jobs {
    @Cron(YEARLY)
    @WithLeaseLock(lock)
    async run() {}
  }
  Object.defineProperty(Jobs, 'name', { value: name });
  @Module({
    imports: [
      K8sLockModule.forRoot({
        kubeConfig: await api.kubeConfig(),
        isGlobal: false,
        verifyAtStartup: false,
        ...options,
      }),
    ],
    providers: [Jobs],
  })
  class Tenant {
    readonly tenant = name;
  }
  return Tenant;
}

describe('at the start', () => {
  it('two classes with one name on one lock are refused, each with its module', async () => {
    const start = startLockApp(
      { imports: [makeModule('Sales'), makeModule('Stock')] },
      { server },
    );
    await expect(start).rejects.toThrow(
      `Report.run of Sales and Report.run of Stock would skip each other's fires`,
    );
  });

  it('one Lease is one lock, however it is written', async () => {
    class Jobs {
      @Cron(YEARLY)
      @WithLeaseLock('same')
      async a() {}

      @Interval(60_000)
      @WithLeaseLock('same', { namespace: 'jobs' })
      async b() {}
    }
    const start = startLockApp(
      { providers: [Jobs] },
      { server, lock: { namespace: 'jobs' } },
    );
    await expect(start).rejects.toThrow(
      `Jobs.a and Jobs.b would skip each other's fires`,
    );
  });

  it.each<[string, K8sLockModuleOptions, K8sLockModuleOptions, string]>([
    [
      'prefix and name come to the same',
      { namePrefix: 'a-' },
      { namePrefix: 'a' },
      'their locks "b" and "-b" use the same Lease',
    ],
    [
      'namespaces come to the same',
      { namespace: 'default', namePrefix: 'a-' },
      { namePrefix: 'a' },
      'their locks "b" and "-b" use the same Lease',
    ],
  ])(
    'two LockServices of an application whose %s',
    async (_, one, other, why) => {
      await expect(
        startLockApp(
          {
            imports: [
              await makeTenant(server, one, 'b', 'One'),
              await makeTenant(server, other, '-b', 'Other'),
            ],
          },
          { server },
        ),
      ).rejects.toThrow(
        `One.run and Other.run would skip each other's fires, since ${why}`,
      );
    },
  );

  it('two LockServices of an application with one name in other namespaces, with other prefixes or on other clusters are fine', async () => {
    await using elsewhere = await LeaseApiServer.start();
    await using app = await startLockApp(
      {
        imports: [
          await makeTenant(server, {}, 'b', 'One'),
          await makeTenant(server, { namePrefix: 'a' }, 'b', 'Two'),
          await makeTenant(server, { namespace: 'jobs' }, 'b', 'Three'),
          await makeTenant(elsewhere, {}, 'b', 'Four'),
        ],
      },
      { server },
    );
    expect(app.app).toBeDefined();
  });

  it('two applications of a process are two pods: they may be two versions of one', async () => {
    const One = await makeTenant(server, {}, 'b', 'One');
    const Other = await makeTenant(server, {}, 'b', 'Other');
    await using _ = await startLockApp({ imports: [One] }, { server });
    await using other = await startLockApp({ imports: [Other] }, { server });
    expect(other.app).toBeDefined();
  });

  it('a class that two modules provide is one', async () => {
    class Jobs {
      @Cron(YEARLY)
      @WithLeaseLock('same')
      async run() {}
    }
    @Module({ providers: [Jobs] })
    class Other {}
    await using app = await startLockApp(
      { imports: [Other], providers: [Jobs] },
      { server },
    );
    expect(app.app.get(Jobs)).toBeInstanceOf(Jobs);
  });

  it('warns of a minHold that is not shorter than a period', async () => {
    class Jobs {
      @Cron('0 45 1,2 * * *', { ...UTC, name: 'cron' })
      @WithLeaseLock('cron', { minHold: 3_600_000 })
      async cron() {}

      @Interval('interval', 10_000)
      @WithLeaseLock('interval', { minHold: 9_500 })
      async interval() {}

      @Cron('0 45 1,2 * * *', { ...UTC, name: 'shorter' })
      @WithLeaseLock('shorter', { minHold: 3_599_000 })
      async shorter() {}
    }
    using warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
    await using pod = await CronPod.start(server, Jobs);
    expect(pod.ends).toEqual([]);
    const warnings = warn.mock.calls.map(([text]) => String(text));
    expect(warnings.filter((text) => text.includes('minHold'))).toEqual([
      expect.stringContaining(
        'Jobs.interval: minHold (9500 ms) is not shorter than the 10000 ms',
      ),
      expect.stringContaining(
        'Jobs.cron: minHold (3600000 ms) is not shorter than the 3600000 ms',
      ),
    ]);
  });

  it('warns of scheduled methods where nothing calls them', async () => {
    class Jobs {
      @Cron(YEARLY)
      @WithLeaseLock('a')
      async a() {}

      @Timeout(60_000)
      @WithLeaseLock('b')
      async b() {}

      @WithLeaseLock('c')
      async c() {}
    }
    const logger = new WarningLog();
    await using app = await startLockApp(
      { providers: [Jobs] },
      { server, logger },
    );
    expect(app.app.get(Jobs)).toBeInstanceOf(Jobs);
    expect(await logger.next('ScheduleModule')).toMatch(
      /nothing calls Jobs\.a, Jobs\.b: import it$/,
    );
  });
});
