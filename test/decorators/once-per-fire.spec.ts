/** Under @Cron each planned fire runs once in the cluster, calls by hand claim no fire, and the outcome of each call is reported. */
import { Injectable } from '@nestjs/common';
import { Cron, Interval } from '@nestjs/schedule';
import { createRequire } from 'node:module';
import { filter, firstValueFrom } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  currentLock,
  LockConfigurationError,
  WithLeaseLock,
} from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import {
  claimOf,
  CronPod,
  NEW_YEAR,
  UTC,
  YEARLY,
  type CallEnd,
} from './cron-pods.js';
import { defer } from './lock-app.js';
import { aborted } from '../support/aborted.js';
import { eventually } from '../support/eventually.js';

const work = vi.fn<(job: string) => Promise<void>>();

@Injectable()
class Jobs {
  @Cron(YEARLY, { ...UTC, name: 'report' })
  @WithLeaseLock('report')
  async report() {
    await work('report');
    return 'ran';
  }

  @WithLeaseLock('careless', { oncePerFire: false })
  @Cron(YEARLY, { ...UTC, name: 'careless' })
  async careless() {
    await work('careless');
  }

  @WithLeaseLock('throwing', { onLocked: 'throw' })
  @Cron(YEARLY, { ...UTC, name: 'throwing' })
  async throwing() {
    await work('throwing');
  }

  @Cron(YEARLY, { ...UTC, name: 'waiting' })
  @WithLeaseLock('waiting', { onLocked: 'wait' })
  async waiting() {
    await work('waiting');
  }

  @Cron(YEARLY, { ...UTC, name: 'hurried' })
  @WithLeaseLock('hurried', { onLocked: 'wait', waitTimeout: 0 })
  async hurried() {
    await work('hurried');
  }

  @Cron(YEARLY, { ...UTC, name: 'failing' })
  @WithLeaseLock('failing')
  async failing() {
    await work('failing');
    throw new Error('no ink');
  }

  @Cron(YEARLY, { ...UTC, name: 'twice-locked' })
  @WithLeaseLock('outer')
  @WithLeaseLock('inner')
  async twiceLocked() {
    await work('twice-locked');
  }

  @Cron(YEARLY, { ...UTC, name: 'caller' })
  @WithLeaseLock('caller')
  async caller() {
    await this.report();
  }

  @Cron(YEARLY, { ...UTC, name: 'spaced' })
  @WithLeaseLock('spaced', { minHold: 60_000 })
  async spaced() {
    await work('spaced');
  }

  @Cron(YEARLY, { ...UTC, name: 'hanging' })
  @WithLeaseLock('hanging', { maxHold: 100 })
  async hanging() {
    const { signal } = currentLock()!;
    await aborted(signal);
    signal.throwIfAborted();
  }

  @Cron(YEARLY, { ...UTC, name: 'dynamic' })
  @WithLeaseLock(() => 'dynamic')
  async dynamic() {
    await work('dynamic');
  }
}

let server: LeaseApiServer;
beforeEach(async () => {
  server = await LeaseApiServer.start();
});
afterEach(async () => {
  vi.resetAllMocks();
  await server.stop();
});

/** Two replicas, which both know all records by their watches. */
async function startTwo() {
  const one = await CronPod.start(server, Jobs);
  const two = await CronPod.start(server, Jobs);
  return {
    one,
    two,
    [Symbol.asyncDispose]: async () => {
      await one[Symbol.asyncDispose]();
      await two[Symbol.asyncDispose]();
    },
  };
}

describe('a planned fire', () => {
  it('is run by one pod, and skipped by a later one, which says so', async () => {
    await using pods = await startTwo();
    const executed = await pods.one.tick('report');
    expect(executed).toMatchObject({
      type: 'executed',
      name: 'report',
      fire: NEW_YEAR,
      fencingToken: expect.any(BigInt),
      duration: expect.any(Number),
    });
    await eventually(() =>
      expect(claimOf(server, 'report')).toBe(`${NEW_YEAR.toISOString()} done`),
    );
    expect(await pods.two.tick('report')).toMatchObject({
      type: 'skipped',
      reason: 'fire-claimed',
      name: 'report',
      fire: NEW_YEAR,
      holder: expect.any(String),
      waited: expect.any(Number),
    });
    expect((await pods.one.tick('report')).type).toBe('skipped');
    expect(work).toHaveBeenCalledOnce();
  });

  it('is run by each pod where that is switched off', async () => {
    await using pods = await startTwo();
    for (const job of ['careless']) {
      work.mockClear();
      for (const pod of [pods.one, pods.two]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        const end = await pod.tick(job);
        expect(end).toMatchObject({ type: 'executed' });
        expect(end).not.toHaveProperty('fire');
        // oxlint-disable-next-line no-await-in-loop
        await eventually(() => expect(isFree(job)).toBe(true));
        // The watch of the other pod may be late, and it would skip for a holder that it takes for alive.
        // oxlint-disable-next-line no-await-in-loop
        await pods.two.locks.inspect(job);
      }
      expect(work).toHaveBeenCalledTimes(2);
    }
  });

  it.each(['dynamic', 'throwing', 'waiting'])(
    'is skipped without an error, whatever the policy: %s',
    async (job) => {
      await using pods = await startTwo();
      expect((await pods.one.tick(job)).type).toBe('executed');
      expect(await pods.two.tick(job)).toMatchObject({
        type: 'skipped',
        reason: 'fire-claimed',
      });
      expect(work).toHaveBeenCalledOnce();
    },
  );

  it('is skipped at once while another pod runs it', async () => {
    await using pods = await startTwo();
    const running = defer();
    work.mockReturnValueOnce(running.promise);
    const first = pods.one.tick('waiting');
    await eventually(() => expect(work).toHaveBeenCalledOnce());
    expect((await pods.two.tick('waiting')).type).toBe('skipped');
    running.resolve();
    expect((await first).type).toBe('executed');
  });

  it('counts as run when the method fails', async () => {
    await using pods = await startTwo();
    expect(await pods.one.tick('failing')).toMatchObject({
      type: 'failed',
      fire: NEW_YEAR,
      error: expect.objectContaining({ message: 'no ink' }),
    });
    await eventually(() =>
      expect(claimOf(server, 'failing')).toMatch(/ done$/),
    );
    expect((await pods.two.tick('failing')).type).toBe('skipped');
  });

  it('is skipped with reason held if another call holds the lock for other work', async () => {
    await using pods = await startTwo();
    const lock = await pods.one.locks.acquire('report', {
      renewInterval: 20,
      leaseDuration: 5_000,
    });
    expect(await pods.two.tick('report')).toMatchObject({
      type: 'skipped',
      reason: 'held',
      holder: lock.holderIdentity,
    });
    await lock.release();
    // As soon as its watch has seen the release.
    await eventually(async () =>
      expect((await pods.two.tick('report')).type).toBe('executed'),
    );
  });

  it('is an error under onLocked: throw when its lock is held for other work', async () => {
    await using pods = await startTwo();
    const other = { renewInterval: 20, leaseDuration: 5_000 };
    const lock = await pods.one.locks.acquire('throwing', other);
    expect(await pods.two.tick('throwing')).toMatchObject({
      type: 'not-acquired',
      reason: 'held',
    });
    expect(work).not.toHaveBeenCalled();
    await lock.release();
  });

  it.each(['report', 'throwing', 'hurried'])(
    'is run although a holder that has just died still has the lock: %s',
    async (job) => {
      await using one = await CronPod.start(server, Jobs);
      const dead = await one.locks.acquire(job, { autoRenew: false });
      await using two = await CronPod.start(server, Jobs);
      expect(await two.tick(job)).toMatchObject({
        type: 'executed',
        fire: NEW_YEAR,
      });
      expect(dead.signal.reason).toMatchObject({ reason: 'deadline' });
    },
  );

  it('is claimed with the lower of two locks', async () => {
    await using pods = await startTwo();
    await pods.one.tick('twice-locked');
    await eventually(() =>
      expect(['inner', 'outer'].map(isFree)).toEqual([true, true]),
    );
    await pods.two.tick('twice-locked');
    await eventually(() =>
      expect(['inner', 'outer'].map(isFree)).toEqual([true, true]),
    );
    expect(work).toHaveBeenCalledOnce();
    expect(claimOf(server, 'inner')).toMatch(/ done$/);
    expect(claimOf(server, 'outer')).toBeUndefined();
  });

  it('begins in the end, when its locks are lost before it knew that it may, whatever is to be done when one is taken', async () => {
    let runs = 0;
    class Careful {
      @Cron(YEARLY, { ...UTC, name: 'careful' })
      @WithLeaseLock('above', { onLocked: 'skip' })
      @WithLeaseLock('below')
      async run() {
        runs += 1;
      }
    }
    await using pod = await CronPod.start(server, Careful);
    const { locks, others } = pod;
    for (const name of ['above', 'below']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await (await locks.acquire(name)).release();
    }
    const lost = server.faults.inject(
      { kind: 'drop', when: 'after' },
      { verb: 'update', name: 'below', skip: 1, times: 1 },
    );
    void lost
      .hit()
      .then(() =>
        server.faults.inject(
          { kind: 'drop', when: 'before' },
          { name: 'below' },
        ),
      );
    const gone = firstValueFrom(
      locks.events$.pipe(
        filter(({ type, name }) => type === 'released' && name === 'above'),
      ),
    );
    const end = pod.tick('careful');
    await gone;
    expect(claimOf(server, 'below')).toMatch(/begun$/);
    const elsewhere = await others.acquire('above');
    const waits = firstValueFrom(
      locks.events$.pipe(filter(({ type }) => type === 'waiting')),
    );
    server.faults.clear();
    await waits;
    await elsewhere.release();
    expect(await end).toMatchObject({ type: 'executed' });
    expect(runs).toBe(1);
  });

  it('is not run under a lock that its caller holds for something else', async () => {
    const outcome = defer<unknown>();
    class Nested {
      @Cron(YEARLY, { ...UTC, name: 'nested' })
      async tick() {
        const call = pod.locks.withLock('nested', () => this.run());
        outcome.resolve(await call.catch((error: unknown) => error));
      }

      @WithLeaseLock('nested', { oncePerFire: true })
      async run() {
        expect.fail('each pod would run it');
      }
    }
    await using pod = await CronPod.start(server, Nested);
    const job = pod.job('nested');
    job.lastExecution = new Date();
    void job.fireOnTick();
    expect(await outcome.promise).toBeInstanceOf(LockConfigurationError);
  });

  it('that comes before minHold is over is skipped, although the work is done', async () => {
    await using pods = await startTwo();
    expect((await pods.one.tick('spaced')).type).toBe('executed');
    await eventually(() => expect(claimOf(server, 'spaced')).toMatch(/ done$/));
    planForJanuary2(pods.two, 'spaced');
    expect(await pods.two.tick('spaced')).toMatchObject({
      type: 'skipped',
      reason: 'held',
    });
  });

  it('that goes on beyond maxHold loses its lock, and is not run again', async () => {
    await using pods = await startTwo();
    const lost = firstValueFrom(
      pods.one.locks.events$.pipe(filter(({ type }) => type === 'lost')),
    );
    expect(await pods.one.tick('hanging')).toMatchObject({
      type: 'failed',
      fire: NEW_YEAR,
      duration: expect.any(Number),
    });
    expect(await lost).toMatchObject({
      reason: 'max-hold',
      held: expect.any(Number),
    });
    expect((await pods.two.tick('hanging')).type).toBe('skipped');
  });

  it('is skipped by a pod in which the job and its method have got other names', async () => {
    class Renamed {
      @Cron(YEARLY, { ...UTC, name: 'yearly-report' })
      @WithLeaseLock('report')
      async reportOfTheYear() {
        await work('yearly-report');
      }
    }
    await using old = await CronPod.start(server, Jobs);
    await using renamed = await CronPod.start(server, Renamed);
    expect((await old.tick('report')).type).toBe('executed');
    expect(await renamed.tick('yearly-report')).toMatchObject({
      type: 'skipped',
      reason: 'fire-claimed',
      name: 'report',
      fire: NEW_YEAR,
    });
    expect(work.mock.calls).toEqual([['report']]);
  });

  it('is skipped by a pod that starts when the one that ran it is gone', async () => {
    {
      await using stopped = await CronPod.start(server, Jobs);
      expect((await stopped.tick('report')).type).toBe('executed');
    }
    await using started = await CronPod.start(server, Jobs);
    expect(await started.tick('report')).toMatchObject({
      type: 'skipped',
      reason: 'fire-claimed',
      fire: NEW_YEAR,
    });
    expect(work).toHaveBeenCalledOnce();
  });

  it('goes by the times that a job has got meanwhile', async () => {
    await using pods = await startTwo();
    await pods.one.tick('report');
    await eventually(() => expect(isFree('report')).toBe(true));
    planForJanuary2(pods.two, 'report');
    expect(await pods.two.tick('report')).toMatchObject({
      type: 'executed',
      fire: new Date(NEW_YEAR.getTime() + 24 * 3_600_000),
    });
  });
});

describe('a job that finds its next fire due as well', () => {
  it('calls for both with one date, and neither is a call by hand', async () => {
    await using pod = await CronPod.start(server, Jobs);
    const job = pod.job('report');
    void job.stop();
    // As `cron` does in the timer of a fire, and within it for the next one.
    using getTimeout = vi
      .spyOn(job.cronTime, 'getTimeout')
      .mockReturnValueOnce(-1)
      .mockReturnValue(60_000);
    job.lastExecution = new Date();
    job.start();
    void job.fireOnTick();
    await eventually(() => expect(pod.ends).toHaveLength(2));
    expect(getTimeout).toHaveBeenCalled();
    expect(pod.ends.map(({ type }) => type).toSorted()).toEqual([
      'executed',
      'skipped',
    ]);
    expect(work).toHaveBeenCalledOnce();
  });
});

describe('a call by hand', () => {
  it('of an interval is for no slot', async () => {
    class Often {
      @Interval('often', 3_600_000)
      @WithLeaseLock('often')
      async run() {
        await work('often');
      }
    }
    await using pod = await CronPod.start(server, Often);
    await pod.tickInterval('often');
    await pod.get(Often).run();
    await pod.tickInterval('often');
    expect(
      pod.ends.map((end) => [
        end.type,
        'fire' in end && end.fire !== undefined,
      ]),
    ).toEqual([
      ['executed', true],
      ['executed', false],
      ['skipped', true],
    ]);
  });

  it('runs, whichever fires were run', async () => {
    await using pods = await startTwo();
    const report = () => pods.one.get(Jobs).report();
    expect(await report()).toBe('ran');
    expect((await pods.one.tick('report')).type).toBe('executed');
    await eventually(() => expect(isFree('report')).toBe(true));
    expect(await report()).toBe('ran');
    expect(await report()).toBe('ran');
    const end = pods.one.ends.at(-1)!;
    expect(end).toMatchObject({ type: 'executed' });
    expect(end).not.toHaveProperty('fire');
  });

  it('is one through the registry of jobs, too', async () => {
    await using pods = await startTwo();
    for (const pod of [pods.one, pods.two]) {
      const end = pod.next();
      void pod.job('report').fireOnTick();
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await end).type).toBe('executed');
      // oxlint-disable-next-line no-await-in-loop
      await eventually(() => expect(isFree('report')).toBe(true));
    }
    expect(claimOf(server, 'report')).toBeUndefined();
  });

  it('is one from within another scheduled method', async () => {
    await using pods = await startTwo();
    await pods.one.tick('report');
    await eventually(() => expect(isFree('report')).toBe(true));
    expect(await pods.one.tick('caller')).toMatchObject({ name: 'report' });
    expect(work.mock.calls).toEqual([['report'], ['report']]);
  });
});

describe('fires of a timer', () => {
  /** The planned times at which the job was run. */
  const runs: string[] = [];

  class EverySecond {
    @Cron('* * * * * *')
    @WithLeaseLock('every-second')
    async run() {
      runs.push(new Date().toISOString().slice(0, 19));
    }
  }

  it('are each run once by three pods', async () => {
    const pods = [
      await CronPod.start(server, EverySecond),
      await CronPod.start(server, EverySecond),
      await CronPod.start(server, EverySecond),
    ];
    await vi.waitFor(() => expect(runs.length).toBeGreaterThan(4), 10_000);
    await Promise.all(pods.map((pod) => pod[Symbol.asyncDispose]()));
    const planned = Array.from(runs, (_, index) =>
      new Date(Date.parse(`${runs[0]}Z`) + index * 1_000)
        .toISOString()
        .slice(0, 19),
    );
    expect(runs).toEqual(planned);
    const fires = pods.flatMap(({ ends }) =>
      ends.flatMap((end) => (end.type === 'executed' ? [end.fire] : [])),
    );
    expect(new Set(fires.map(Number)).size).toBe(runs.length);
  });

  it('under @Interval are each for a whole multiple of it, and no two for the same', async () => {
    class Often {
      @Interval(200)
      @WithLeaseLock('often')
      async run() {
        await work('often');
      }
    }
    const pods = [
      await CronPod.start(server, Often),
      await CronPod.start(server, Often),
      await CronPod.start(server, Often),
    ];
    work.mockClear();
    await vi.waitFor(
      () => expect(work.mock.calls.length).toBeGreaterThan(5),
      10_000,
    );
    await Promise.all(pods.map((pod) => pod[Symbol.asyncDispose]()));
    for (const { ends } of pods) {
      // Each call of the timer is for one.
      expect(ends.length).toBeGreaterThan(0);
      expect(ends.map(slotOf).filter((fire) => !(fire! % 200 === 0))).toEqual(
        [],
      );
    }
    const fires = pods.flatMap(({ ends }) =>
      ends.filter(({ type }) => type === 'executed').map(slotOf),
    );
    expect(new Set(fires).size).toBe(fires.length);
  });
});

describe('a slot of @Interval', () => {
  const MINUTE = 60_000;

  class EveryMinute {
    @Interval('every-minute', MINUTE)
    @WithLeaseLock('every-minute')
    async run() {
      await work('every-minute');
    }
  }

  afterEach(() => {
    vi.useRealTimers();
  });

  it('is run once if a pod calls in it, whichever does, and left out if none does', async () => {
    const pods = [
      await CronPod.start(server, EveryMinute),
      await CronPod.start(server, EveryMinute),
    ];
    vi.useFakeTimers({ toFake: ['Date'] });
    const first = Math.ceil(Date.now() / MINUTE) * MINUTE;
    /** In order: the pods that call in each slot, at once, and what their calls come to. */
    const slots: [callers: number[], outcomes: string[]][] = [
      [[0], ['executed']],
      [[1], ['executed']],
      [[1], ['executed']],
      [
        [0, 1],
        ['executed', 'skipped'],
      ],
      [
        [0, 1],
        ['executed', 'skipped'],
      ],
      [[], []],
      [
        [0, 0],
        ['executed', 'skipped'],
      ],
      [[1], ['executed']],
    ];
    for (const [index, [callers, outcomes]] of slots.entries()) {
      const slot = first + index * MINUTE;
      vi.setSystemTime(slot + 10_000);
      work.mockClear();
      const before = pods.map(({ ends }) => ends.length);
      const calls = callers.map((pod) =>
        pods[pod]!.tickInterval('every-minute'),
      );
      // oxlint-disable-next-line no-await-in-loop -- one slot after the other
      await Promise.all(calls);
      const ends = pods.flatMap((pod, number) =>
        pod.ends.slice(before[number]),
      );
      expect(ends.map(({ type }) => type).toSorted()).toEqual(outcomes);
      expect(ends.map(slotOf)).toEqual(callers.map(() => slot));
      expect(
        ends.flatMap((end) => (end.type === 'skipped' ? [end.reason] : [])),
      ).toEqual(outcomes.slice(1).map(() => 'fire-claimed'));
      expect(work).toHaveBeenCalledTimes(Math.min(callers.length, 1));
    }
    await Promise.all(pods.map((pod) => pod[Symbol.asyncDispose]()));
  });
});

/** The planned time that a call was for. */
function slotOf(end: CallEnd): number | undefined {
  return 'fire' in end ? end.fire?.getTime() : undefined;
}

/** Gives a running job other times. */
function planForJanuary2(pod: CronPod, name: string): void {
  const { CronTime } = createRequire(
    createRequire(import.meta.url).resolve('@nestjs/schedule'),
  )('cron');
  pod.job(name).setTime(new CronTime('0 0 2 1 *', 'UTC'));
}

function isFree(name: string): boolean {
  const lease = server.lease({ namespace: 'default', name });
  return (lease?.spec?.holderIdentity ?? '') === '';
}
