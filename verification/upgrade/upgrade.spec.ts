/** Replicas of an earlier and of the present build, as in a rolling upgrade, on the same Leases of a real API server. */
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { describeOnServer } from '../../test/api-servers.js';
import { buildFolder } from '../../test/support/build-folder.js';
import type { Belief } from '../beliefs/belief-log.js';
import { findOverlaps, findStaleTokens } from '../beliefs/overlaps.js';
import { Contender } from '../interop/contender.js';
import type { OurOptions } from '../interop/programs/options.js';
import { ALWAYS } from '../interop/peer-processes.js';
import { monotonic } from '../processes/programs/calls.js';
import type { CronJobsCalls } from '../processes/programs/cron-jobs.js';
import { TestProcess } from '../processes/test-process.js';
import { buildEarlier, EARLIER_BUILDS } from './earlier-builds.js';

type Build = 'earlier' | 'present';
type Process = Partial<OurOptions> & { build: Build };

const OPTIONS = { leaseDuration: 2_000 };
/** It comes back soon, so that somebody waits at each moment. */
const EAGER = { hold: [0, 10], rest: [0, 10], options: OPTIONS } as const;

/** Between two fires, as in the program. */
const PERIOD = 4_000;

for (const earlier of EARLIER_BUILDS) {
  describeOnServer(`the present build and ${earlier.title}`, (server) => {
    let builds: Record<Build, string>;
    beforeAll(async () => {
      const present = buildFolder();
      builds = { present, earlier: await buildEarlier(earlier, present) };
    });
    const running: AsyncDisposable[] = [];
    afterEach(() =>
      Promise.all(running.splice(0).map((each) => each[Symbol.asyncDispose]())),
    );

    function start(name: string, { build, ...more }: Process): Contender {
      const { kubeConfigYaml, namespace } = server;
      const cluster = { kubeConfigYaml, namespace };
      const options = { name, locks: [], ...cluster, ...more };
      const contender = Contender.ours(builds[build], options);
      running.push(contender);
      return contender;
    }

    /** Has processes contend until each has had so many turns with each lock since all take part. @returns their beliefs, and what else they said */
    async function contest(
      processes: Record<string, Process>,
      turns: number,
      locks: OurOptions['locks'],
    ) {
      const all = Object.entries(processes).map(([name, process]) =>
        start(name, { ...process, locks }),
      );
      const each = (times: number, from?: number): Promise<unknown> =>
        Promise.all(
          all.flatMap((contender) =>
            locks.map(({ lock }) => contender.acquiredTimes(times, lock, from)),
          ),
        );
      await each(1);
      const since = monotonic();
      await each(turns, since);
      const said = await Promise.all(all.map((one) => one.finish()));
      const complaints = said.flat();
      const beliefs = all.flatMap((one) => one.beliefs());
      return { since, beliefs, complaints };
    }

    it('exclude each other, and each gets its turns', async () => {
      const processes: Record<string, Process> = {
        'present-1': { build: 'present' },
        'present-2': { build: 'present', renewal: 'session' },
        'earlier-1': { build: 'earlier' },
        // Of builds from before the line, it is chance who finds the lock free.
        ...(earlier.hasLine && {
          'earlier-2': { build: 'earlier', renewal: 'session' },
        }),
      };
      const { since, beliefs, complaints } = await contest(
        processes,
        earlier.hasLine ? 50 : 5,
        [{ ...EAGER, lock: 'contest' }],
      );
      expect(findFaults(beliefs)).toEqual([]);
      expect(complaints).toEqual([]);
      const turns = Object.keys(processes).map(
        (name) =>
          beliefs.filter(
            ({ process, from }) => process === name && from > since,
          ).length,
      );
      const share = Math.min(...turns) / Math.max(...turns);
      process.stdout.write(`${earlier.title}: ${turns.join(', ')} turns\n`);
      expect(share).toBeGreaterThan(earlier.hasLine ? 0.5 : 0);
    });

    it.runIf(earlier.hasLine)('share a semaphore', async () => {
      const { beliefs, complaints } = await contest(
        {
          'present-1': { build: 'present' },
          'present-2': { build: 'present' },
          'earlier-1': { build: 'earlier' },
          'earlier-2': { build: 'earlier' },
        },
        20,
        [{ ...EAGER, lock: 'pool', options: { ...OPTIONS, permits: 2 } }],
      );
      expect(findFaults(beliefs)).toEqual([]);
      expect(complaints).toEqual([]);
      expect([...new Set(beliefs.map(({ lock }) => lock))].toSorted()).toEqual([
        'pool',
        'pool--slot-1',
      ]);
    });

    it.each(
      earlier.hasLine ? (['lock', 'session'] as const) : ['lock' as const],
    )(
      'take over from each other when they are killed (renewal: %s)',
      async (renewal) => {
        const lock = `takeover-${renewal}`;
        const next = (name: string, build: Build): Contender =>
          start(name, {
            build,
            ...(earlier.hasLine && { renewal }),
            locks: [{ ...ALWAYS, lock, options: OPTIONS }],
          });
        const first = next('first', 'earlier');
        await first.acquired();
        const second = next('second', 'present');
        await first.kill();
        await second.acquired();
        const third = next('third', 'earlier');
        await second.kill();
        await third.acquired();
        await third.kill();
        const beliefs = [first, second, third].flatMap((one) => one.beliefs());
        expect(beliefs.map(({ how }) => how)).toEqual(['died', 'died', 'died']);
        expect(findFaults(beliefs)).toEqual([]);
      },
    );

    it.runIf(earlier.hasLine)(
      'have one leader, which changes when that one is replaced',
      async () => {
        const { kubeConfigYaml, namespace } = server;
        const startLeader = (name: string, build: Build): Contender => {
          const contender = Contender.leader(builds[build], {
            name,
            kubeConfigYaml,
            namespace,
            lock: 'leader',
            leaseDuration: 3_000,
            safetyMargin: 300,
          });
          running.push(contender);
          return contender;
        };
        const first = startLeader('first', 'earlier');
        await first.acquired();
        const second = startLeader('second', 'present');
        expect(await first.finish()).toEqual([]);
        await second.acquired();
        const third = startLeader('third', 'earlier');
        expect(await second.finish()).toEqual([]);
        await third.acquired();
        expect(await third.finish()).toEqual([]);
        const beliefs = [first, second, third].flatMap((one) => one.beliefs());
        expect(beliefs.map(({ how }) => how)).toEqual(
          Array.from({ length: 3 }, () => 'released'),
        );
        expect(findFaults(beliefs)).toEqual([]);
      },
    );

    describe.each([
      ['an upgrade', 'earlier', 'present'],
      ['a rollback', 'present', 'earlier'],
    ] as const)('during %s', (_, from, to) => {
      it('run each fire once, and repeat that of a process that died', async () => {
        const startPod = async (
          build: Build,
          more: { hangs?: boolean; shift?: number } = {},
        ): Promise<TestProcess<CronJobsCalls>> => {
          const pod = await TestProcess.start<CronJobsCalls>(
            'verification/processes/programs/cron-jobs',
            builds[build],
          );
          running.push(pod);
          await pod.call('start', {
            kubeConfigYaml: server.kubeConfigYaml,
            namePrefix: `${from}-`,
            leaseDuration: 1_000,
            shift: 0,
            hangs: false,
            ...more,
          });
          return pod;
        };
        const old = await startPod(from);
        const first = await startPod(to);
        // Its fires come first, so that it gets the next one.
        const doomed = await startPod(from, { hangs: true, shift: 800 });
        const [left, { fire }] = await Promise.all([
          doomed.event('run', { job: 'left' }),
          doomed.event('run', { job: 'retried' }),
        ]);
        expect(left.fire).toBe(fire);
        doomed.signal('SIGKILL');
        const second = await startPod(to);
        await old.call('close');

        // The last of three more fires, or of more if the second took long to start: both are sure to tell of it.
        const last = Math.max(
          fire + 3 * PERIOD,
          (Math.ceil(Date.now() / PERIOD) + 1) * PERIOD,
        );
        const pods = [old, first, second];
        const end = (pod: typeof old, job: string, at: number) =>
          Promise.race([
            pod.event('executed', { job, fire: at }),
            pod.event('skipped', { job, fire: at }),
          ]);
        await Promise.all(
          [first, second].flatMap((pod) =>
            ['left', 'retried'].map((job) => end(pod, job, last)),
          ),
        );
        const runsOf = (job: string): number[] =>
          pods
            .flatMap(({ events }) => events)
            .filter((event) => event.type === 'executed' && event.job === job)
            .map((event): number => event.fire)
            .filter((each) => each >= fire && each <= last)
            .toSorted((a, b) => a - b);
        const later = Array.from(
          { length: (last - fire) / PERIOD },
          (_each, n) => fire + (n + 1) * PERIOD,
        );
        expect(runsOf('retried')).toEqual([fire, ...later]);
        expect(runsOf('left')).toEqual(later);
      });
    });
  });
}

/** Two that held a lock at once, and tokens that did not rise. */
function findFaults(beliefs: readonly Belief[]): unknown[] {
  return [...findOverlaps(beliefs), ...findStaleTokens(beliefs)];
}
