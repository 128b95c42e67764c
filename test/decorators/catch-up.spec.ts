/** `catchUp`: a fire that was missed because no pod ran is made up for at startup, once, and no other is. */
import { Logger, type Type } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import {
  setImmediate as nextTurn,
  setTimeout as sleep,
} from 'node:timers/promises';
import { filter, firstValueFrom } from 'rxjs';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { WithLeaseLock, type WithLeaseLockOptions } from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { claimOf, CronPod, NEW_YEAR, UTC, YEARLY } from './cron-pods.js';
import { eventually } from '../support/eventually.js';

const HOUR = 3_600_000;
const HOURLY = '0 0 * * * *';

const work = vi.fn<() => Promise<void>>();

function jobs(
  cronTime: string,
  options: WithLeaseLockOptions,
  cron: { name?: string; disabled?: boolean; initialDelay?: number } = {},
): Type {
  class Jobs {
    @Cron(cronTime, { ...UTC, ...cron })
    @WithLeaseLock('job', options)
    async run() {
      await work();
    }
  }
  return Jobs;
}

let server: LeaseApiServer;
beforeEach(async () => {
  server = await LeaseApiServer.start();
});
afterEach(async () => {
  vi.resetAllMocks();
  await server.stop();
});

/** The fire of New Year's Day is run, and the application ends. */
async function runOnNewYear(): Promise<void> {
  await using pod = await CronPod.start(
    server,
    jobs(YEARLY, {}, { name: 'job' }),
  );
  await pod.tick('job');
}

/** Starts a pod that looks for a missed fire; resolves once it has looked, and called the job if there is one. */
async function startLooking(job: Type): Promise<CronPod> {
  const pod = await CronPod.start(server, job);
  await pod.firstRead();
  return pod;
}

/** Ends a pod; resolves with what became of its calls, of which none is left open. */
async function stop(pod: CronPod) {
  await pod[Symbol.asyncDispose]();
  return pod.ends;
}

/**
 * Runs a pod through the first turns of its timers, and reads another record in the end: resolves with
 * the names of all that were read, and with what its calls came to.
 */
async function runBriefly(job: Type) {
  server.requests.clear();
  const pod = await CronPod.start(server, job);
  // Behind the timers that were set while it started.
  await sleep(0);
  // Behind what those have sent.
  await pod.locks.inspect('other');
  const ends = await stop(pod);
  const reads = server.requests.all({ verb: 'get' });
  return { reads: reads.map(({ name }) => name), ends };
}

/** Of a pod that did not look for a missed fire. */
const NO_LOOK = { reads: ['other'], ends: [] };

it('runs the latest missed fire in one of the pods, and not again', async () => {
  await runOnNewYear();
  work.mockClear();
  const fire = new Date(Math.floor(Date.now() / HOUR) * HOUR);
  const job = jobs(HOURLY, { catchUp: true });
  const found = server.faults.inject(
    { kind: 'hold', when: 'after' },
    { verb: 'get', name: 'job' },
  );
  const one = await CronPod.start(server, job);
  const two = await CronPod.start(server, job);
  // Both find that it was missed, before either of them claims it.
  await found.hit(2);
  found.remove();
  const ends = [await one.firstEnd(), await two.firstEnd()];
  expect(ends.toSorted((a, b) => a.type.localeCompare(b.type))).toEqual([
    expect.objectContaining({ type: 'executed', fire }),
    expect.objectContaining({ type: 'skipped', reason: 'fire-claimed', fire }),
  ]);
  expect([...(await stop(one)), ...(await stop(two))]).toHaveLength(2);
  expect(work).toHaveBeenCalledOnce();
  expect(claimOf(server, 'job')).toBe(`${fire.toISOString()} done`);

  expect(await stop(await startLooking(job))).toEqual([]);
});

it('looks again when the API server does not answer at first', async () => {
  await runOnNewYear();
  const fault = server.faults.inject(
    { kind: 'status', code: 500 },
    { verb: 'get', name: 'job' },
  );
  await using pod = await CronPod.start(
    server,
    jobs(HOURLY, { catchUp: true }),
  );
  const told = firstValueFrom(
    pod.locks.events$.pipe(filter(({ type }) => type === 'backend-error')),
  );
  await fault.hit(2);
  fault.remove();
  expect((await pod.firstEnd()).type).toBe('executed');
  expect(await told).toMatchObject({ operation: 'acquire', name: 'job' });
});

it('logs what the job fails with, as the scheduler does', async () => {
  await runOnNewYear();
  work.mockRejectedValueOnce(new Error('no ink'));
  using log = vi.spyOn(Logger.prototype, 'error').mockReturnValue();
  await using pod = await startLooking(jobs(HOURLY, { catchUp: true }));
  expect((await pod.firstEnd()).type).toBe('failed');
  await eventually(() =>
    expect(log).toHaveBeenCalledWith(
      expect.objectContaining({ message: 'no ink' }),
    ),
  );
});

it('waits for the initial delay of the job', async () => {
  await runOnNewYear();
  const catchUp = true;
  const inTenMinutes = { name: 'job', initialDelay: 600_000 };
  expect(await runBriefly(jobs(HOURLY, { catchUp }, inTenMinutes))).toEqual(
    NO_LOOK,
  );
  const soon = { name: 'job', initialDelay: 200 };
  await using pod = await startLooking(jobs(HOURLY, { catchUp }, soon));
  expect((await pod.firstEnd()).type).toBe('executed');
});

it('leaves no timer behind for an application that ends before the delay', async () => {
  using setTimer = vi.spyOn(globalThis, 'setTimeout');
  using clearTimer = vi.spyOn(globalThis, 'clearTimeout');
  const delay = { name: 'job', initialDelay: 600_000 };
  const job = jobs(HOURLY, { catchUp: true }, delay);
  await stop(await CronPod.start(server, job));
  const timers = setTimer.mock.results
    .filter((_, call) => setTimer.mock.calls[call]?.[1] === 600_000)
    .map(({ value }) => value);
  // That of the scheduler and that of the missed fire.
  expect(timers).toHaveLength(2);
  const cleared = new Set(clearTimer.mock.calls.map(([timer]) => timer));
  expect(timers.filter((timer) => !cleared.has(timer))).toEqual([]);
});

it.each<[string, Type]>([
  ['without catchUp', jobs(HOURLY, {})],
  [
    'for a job that is disabled',
    jobs(HOURLY, { catchUp: true }, { disabled: true }),
  ],
])('looks for nothing %s', async (_, job) => {
  await runOnNewYear();
  expect(await runBriefly(job)).toEqual(NO_LOOK);
});

it('says nothing of a look that the end of the application cuts short', async () => {
  await runOnNewYear();
  using held = server.faults.inject(
    { kind: 'hold', when: 'before' },
    { verb: 'get', name: 'job' },
  );
  using error = vi.spyOn(Logger.prototype, 'error').mockReturnValue();
  const pod = await CronPod.start(server, jobs(HOURLY, { catchUp: true }));
  await held.hit(1);
  await pod[Symbol.asyncDispose]();
  await nextTurn();
  expect(error).not.toHaveBeenCalled();
});

it('runs nothing for a job that has never run', async () => {
  const pod = await startLooking(jobs(HOURLY, { catchUp: true }));
  expect(await stop(pod)).toEqual([]);
});

it.each([
  ['retry', ['executed']],
  ['leave', []],
] as const)(
  'what was cut short, under onFailure: %j, comes to %j',
  async (onFailure, outcome) => {
    {
      work.mockReturnValueOnce(new Promise(() => undefined));
      await using pod = await CronPod.start(
        server,
        jobs(YEARLY, {}, { name: 'job' }),
      );
      void pod.tick('job').catch(() => undefined);
      await eventually(() => expect(work).toHaveBeenCalledOnce());
    }
    const fire = NEW_YEAR;
    expect(claimOf(server, 'job')).toBe(`${fire.toISOString()} begun`);
    const pod = await startLooking(jobs(YEARLY, { catchUp: true, onFailure }));
    if (outcome.length > 0) {
      await pod.firstEnd();
    }
    expect((await stop(pod)).map(({ type }) => type)).toEqual(outcome);
  },
);

it('does not believe the claim of a clock that is far ahead, as no fire does', async () => {
  await runOnNewYear();
  const ahead = new Date(NEW_YEAR);
  ahead.setUTCFullYear(ahead.getUTCFullYear() + 3);
  {
    await using broken = await CronPod.start(
      server,
      jobs(YEARLY, {}, { name: 'job' }),
    );
    await broken.tick('job', ahead);
  }
  expect(claimOf(server, 'job')).toBe(`${ahead.toISOString()} done`);
  work.mockClear();
  const pod = await startLooking(jobs(HOURLY, { catchUp: true }));
  expect((await pod.firstEnd()).type).toBe('executed');
  await stop(pod);
  expect(work).toHaveBeenCalledOnce();
});
