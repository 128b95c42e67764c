/** A process is killed in the middle of a fire: it is run again where that was asked for, not elsewhere, and none after it twice; under clocks that differ. */
import { expect, it } from 'vitest';
import { describeOnServer } from '../../test/api-servers.js';
import type { CronJobsCalls } from './programs/cron-jobs.js';
import { TestProcess } from './test-process.js';

const PERIOD = 4_000;

async function start(
  kubeConfigYaml: string,
  { shift = 0, hangs = false, leaseDuration = 1_000 } = {},
): Promise<TestProcess<CronJobsCalls>> {
  const pod = await TestProcess.start<CronJobsCalls>(
    'verification/processes/programs/cron-jobs',
  );
  await pod.call('start', { kubeConfigYaml, leaseDuration, shift, hangs });
  return pod;
}

describeOnServer('a fire whose process is killed', (server) => {
  it('is run again under onFailure: retry only', async () => {
    const { kubeConfigYaml } = server;
    await using right = await start(kubeConfigYaml);
    await using behind = await start(kubeConfigYaml, { shift: -400 });
    // Its fires come before those of the others, so that it gets the first that it meets.
    await using ahead = await start(kubeConfigYaml, {
      shift: 400,
      hangs: true,
    });
    const survivors = [right, behind];
    const [left, retried] = await Promise.all([
      ahead.event('run', { job: 'left' }),
      ahead.event('run', { job: 'retried' }),
    ]);
    ahead.signal('SIGKILL');
    const fire: number = retried.fire;
    expect(left.fire).toBe(fire);

    const again = await Promise.race(
      survivors.map((pod) => pod.event('executed', { job: 'retried', fire })),
    );
    expect(again.at - retried.at).toBeGreaterThan(600);
    expect(again.at - retried.at).toBeLessThan(PERIOD);

    // The last of three more fires has passed in both.
    const last = fire + 3 * PERIOD;
    await Promise.all(
      survivors.flatMap((pod) =>
        ['left', 'retried'].map((job) =>
          Promise.race([
            pod.event('executed', { job, fire: last }),
            pod.event('skipped', { job, fire: last }),
          ]),
        ),
      ),
    );
    const runsOf = (job: string): number[] =>
      survivors
        .flatMap(({ events }) => events)
        .filter((event) => event.type === 'executed' && event.job === job)
        .map((event): number => event.fire)
        .filter((each) => each >= fire)
        .toSorted((a, b) => a - b);
    const next = [fire + PERIOD, fire + 2 * PERIOD, last];
    expect(runsOf('retried')).toEqual([fire, ...next]);
    expect(runsOf('left')).toEqual(next);
    const skips = survivors
      .flatMap(({ events }) => events)
      .filter((event) => event.type === 'skipped' && event.fire === fire);
    expect(skips).toHaveLength(3);
    expect(skips.every(({ reason }) => reason === 'fire-claimed')).toBe(true);
  });

  it('does not take the next one with it, be its lease the longer', async () => {
    const { kubeConfigYaml } = server;
    const leaseDuration = 1.5 * PERIOD;
    await using right = await start(kubeConfigYaml, { leaseDuration });
    await using behind = await start(kubeConfigYaml, {
      leaseDuration,
      shift: -400,
    });
    await using ahead = await start(kubeConfigYaml, {
      leaseDuration,
      shift: 400,
      hangs: true,
    });
    const doomed = await ahead.event('run', { job: 'left' });
    ahead.signal('SIGKILL');

    const next = { job: 'left', fire: doomed.fire + PERIOD };
    const survivors = [right, behind];
    const ends = await Promise.all(
      survivors.map((pod) =>
        Promise.race([pod.event('executed', next), pod.event('skipped', next)]),
      ),
    );
    const executed = ends.filter(({ type }) => type === 'executed');
    expect(executed).toHaveLength(1);
    expect(executed[0]!.at - doomed.at).toBeGreaterThan(1.25 * PERIOD);
    expect(ends.find(({ type }) => type === 'skipped')).toMatchObject({
      reason: 'fire-claimed',
    });
  });
});
