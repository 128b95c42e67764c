/** 32 callers contend for one lock without pause: throughput, requests per lock, and fairness. */
import { expect, it } from 'vitest';
import { describeOnEachServer } from '../test/api-servers.js';
import { TestProcess } from '../verification/processes/test-process.js';
import { note } from './figures.js';
import type { ContenderCalls, Crowd } from './programs/contender.js';

const DURATION = 5_000;

const CROWDS: { title: string; processes: number; crowd: Crowd }[] = [
  {
    title: '32 pods',
    processes: 8,
    crowd: { services: 4, callersPerService: 1 },
  },
  {
    title: '8 pods with 4 callers each',
    processes: 8,
    crowd: { services: 1, callersPerService: 4 },
  },
];

type Contender = TestProcess<ContenderCalls>;

const sum = (counts: number[]): number =>
  counts.reduce((total, count) => total + count, 0);

describeOnEachServer('contention', (server) => {
  it.for(CROWDS)('$title', async ({ title, processes, crowd }, context) => {
    const contenders = await Promise.all(
      Array.from({ length: processes }, () =>
        TestProcess.start<ContenderCalls>('bench/programs/contender'),
      ),
    );
    const all = <T>(act: (contender: Contender) => Promise<T>): Promise<T[]> =>
      Promise.all(contenders.map(act));
    context.onTestFinished(async () => {
      await all((contender) => contender[Symbol.asyncDispose]());
    });
    await all((contender) =>
      contender.call('open', server.kubeConfigYaml, crowd),
    );

    const alone = await contenders[0]!.call('contend', 'alone', DURATION, 1);
    const name = title.replaceAll(' ', '-');
    const together = await all((contender) =>
      contender.call('contend', name, DURATION),
    );

    const acquired = together.flatMap((result) => result.acquired);
    const locks = sum(acquired);
    const requests = sum(together.map((result) => result.requests));
    const rate = (locks / DURATION) * 1_000;
    const share = locks / sum(alone.acquired);
    note(
      context,
      `${title}: locks per second`,
      `${rate.toFixed(0)}  (${share.toFixed(2)} x of one caller alone)`,
    );
    note(context, `${title}: requests per lock`, (requests / locks).toFixed(1));
    note(
      context,
      `${title}: locks of one caller, least / mean / most`,
      [Math.min(...acquired), locks / acquired.length, Math.max(...acquired)]
        .map((count) => count.toFixed(0))
        .join(' / '),
    );
    expect(locks).toBeGreaterThan(0);
  });
});
