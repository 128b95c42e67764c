/** `catchUp`: a fire that was missed because no pod ran is made up for at startup, once, and no other is. */
import type { Type } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { WithLeaseLock, type WithLeaseLockOptions } from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { claimOf, CronPod, NEW_YEAR, UTC, YEARLY } from './cron-pods.js';

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

/** Starts pods and gives them time for what they should not do. */
async function startAll(job: Type, count = 1) {
  const pods: CronPod[] = [];
  for (let each = 0; each < count; each += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    pods.push(await CronPod.start(server, job));
  }
  await sleep(500);
  await Promise.all(pods.map((pod) => pod[Symbol.asyncDispose]()));
  return pods.flatMap(({ ends }) => ends);
}

it('runs the latest missed fire in one of the pods, and not again', async () => {
  await runOnNewYear();
  work.mockClear();
  const fire = new Date(Math.floor(Date.now() / HOUR) * HOUR);
  const ends = await startAll(jobs(HOURLY, { catchUp: true }), 2);
  expect(ends.filter(({ type }) => type === 'executed')).toEqual([
    expect.objectContaining({ fire }),
  ]);
  expect(work).toHaveBeenCalledOnce();
  expect(claimOf(server, 'job')).toBe(`${fire.toISOString()} done`);

  expect(await startAll(jobs(HOURLY, { catchUp: true }))).toEqual([]);
});

it('waits for the initial delay of the job', async () => {
  await runOnNewYear();
  work.mockClear();
  const catchUp = true;
  const inTenMinutes = { name: 'job', initialDelay: 600_000 };
  expect(await startAll(jobs(HOURLY, { catchUp }, inTenMinutes))).toEqual([]);
  const soon = { name: 'job', initialDelay: 200 };
  expect(await startAll(jobs(HOURLY, { catchUp }, soon))).toHaveLength(1);
});

it.each<[string, Type]>([
  ['without catchUp', jobs(HOURLY, {})],
  [
    'for a job that is disabled',
    jobs(HOURLY, { catchUp: true }, { disabled: true }),
  ],
])('runs nothing %s', async (_, job) => {
  await runOnNewYear();
  expect(await startAll(job)).toEqual([]);
});

it('runs nothing for a job that has never run', async () => {
  expect(await startAll(jobs(HOURLY, { catchUp: true }))).toEqual([]);
});

it.each([
  ['retry', 1],
  ['leave', 0],
] as const)(
  'what was cut short, under onFailure: %j, is run again %i times',
  async (onFailure, times) => {
    {
      work.mockReturnValueOnce(new Promise(() => undefined));
      await using pod = await CronPod.start(
        server,
        jobs(YEARLY, {}, { name: 'job' }),
      );
      void pod.tick('job').catch(() => undefined);
      await vi.waitFor(() => expect(work).toHaveBeenCalledOnce());
    }
    const fire = NEW_YEAR;
    expect(claimOf(server, 'job')).toBe(`${fire.toISOString()} begun`);
    const ends = await startAll(jobs(YEARLY, { catchUp: true, onFailure }));
    expect(ends).toHaveLength(times);
  },
);
