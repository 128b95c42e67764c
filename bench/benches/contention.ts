/** Crowds contend for one lock without pause, in turns with the peers: throughput, requests, fairness, waits. */
import {
  goPeers,
  openPods,
  waitsOf,
  type Contender,
  type Contest,
  type Crowd,
} from '../crowds.js';
import { median, type Row, type Target } from '../report.js';
import type { Bench, Setting } from '../setting.js';

const OURS = 'nestjs-k8s-lock';
const K8SLOCK_FAIR = 'k8slock, 10 ms retry';
const K8SLOCK_FAST = 'k8slock, 1 s retry';

/** What each size of a crowd needs to be, with an empty section. */
const LEAST: Readonly<
  Record<number, { fair: number; fast: number; share: number }>
> = {
  8: { fair: 3, fast: 2, share: 0.95 },
  32: { fair: 4, fast: 1.2, share: 0.9 },
};
const MOST_REQUESTS = 1.5;
const LEAST_SHARE_OF_CALLERS = 0.8;

export const contention: Bench = {
  about:
    'Pods take one lock again and again, and in turns with them k8slock, client-go and a naive lock do.',

  async run(setting) {
    const { quick, crowds } = setting.options;
    const rounds = quick ? 1 : 3;
    const duration = quick ? 2_000 : 5_000;
    const rows: Row[] = [];
    const targets: Target[] = [];
    const faults: string[] = [];
    for (const pods of crowds) {
      // oxlint-disable no-await-in-loop -- one after the other: each has the machine for itself
      const contenders = await contendersOf(setting, pods);
      for (const section of [0, 5]) {
        const crowd: Crowd = { pods, callersPerPod: 1, section };
        const contests = await inTurns(contenders, crowd, rounds, duration);
        const figures = new Map(
          [...contests].map(([name, each]) => [name, summarize(each)]),
        );
        for (const [name, figure] of figures) {
          rows.push({ pods, 'section ms': section, lock: name, ...figure });
        }
        faults.push(...contests.get(OURS)!.flatMap((each) => each.faults));
        targets.push(...targetsOf(crowd, figures));
      }
      await contenders.close();
      // oxlint-enable no-await-in-loop
    }
    const callers = await runCallers(setting, rounds, duration);
    faults.push(...callers.faults);
    return {
      tables: [
        { title: 'One caller in each pod', rows },
        { title: '8 pods of 4 callers, empty section', rows: [callers.row] },
      ],
      targets: [...targets, callers.target],
      faults,
    };
  },
};

type Figure = ReturnType<typeof summarize>;

async function contendersOf(
  setting: Setting,
  pods: number,
): Promise<Map<string, Contender> & { close(): Promise<void> }> {
  const ours = await openPods(setting, 'ours', pods);
  const naive = await openPods(setting, 'naive', pods);
  const processes = [...ours.processes, ...naive.processes];
  const ttl = 15_000;
  const clientGo = {
    leaseDuration: ttl,
    renewDeadline: 10_000,
    retryPeriod: 10,
    releaseOnCancel: true,
  };
  return Object.assign(
    new Map([
      [OURS, ours.contend],
      [K8SLOCK_FAIR, goPeers(setting, { k8slock: { ttl, retryWait: 10 } })],
      [K8SLOCK_FAST, goPeers(setting, { k8slock: { ttl, retryWait: 1_000 } })],
      ['client-go, 10 ms retry', goPeers(setting, { clientGo })],
      ['naive, 10 ms retry', naive.contend],
    ]),
    {
      close: async () => {
        await Promise.all(processes.map((each) => each[Symbol.asyncDispose]()));
      },
    },
  );
}

async function inTurns(
  contenders: ReadonlyMap<string, Contender>,
  crowd: Crowd,
  rounds: number,
  duration: number,
): Promise<Map<string, Contest[]>> {
  const contests = new Map<string, Contest[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, contend] of contenders) {
      // oxlint-disable-next-line no-await-in-loop -- in turns, so that all meet the same load
      const contest = await contend(crowd, duration);
      contests.set(name, [...(contests.get(name) ?? []), contest]);
    }
  }
  return contests;
}

function summarize(contests: readonly Contest[]) {
  const middle = (figure: (contest: Contest) => number): number =>
    median(contests.map(figure));
  const { p50, p99 } = waitsOf(contests.flatMap(({ waits }) => waits));
  return {
    'locks/s': middle((each) => each.locksPerSecond),
    'requests a lock': middle((each) => each.requestsPerLock),
    'least/most': middle((each) => each.share),
    'wait p50 ms': p50,
    'wait p99 ms': p99,
  };
}

function targetsOf(
  { pods, section }: Crowd,
  figures: ReadonlyMap<string, Figure>,
): Target[] {
  const ours = figures.get(OURS)!;
  const what = `${pods} pods, section of ${section} ms`;
  const targets: Target[] = [
    {
      what: `${what}: requests a lock`,
      value: ours['requests a lock'],
      most: MOST_REQUESTS,
    },
  ];
  const least = LEAST[pods];
  if (least && section === 0) {
    const times = (peer: string): number =>
      ours['locks/s'] / figures.get(peer)!['locks/s'];
    targets.push(
      {
        what: `${what}: locks/s, times ${K8SLOCK_FAIR}`,
        value: times(K8SLOCK_FAIR),
        least: least.fair,
      },
      {
        what: `${what}: locks/s, times ${K8SLOCK_FAST}`,
        value: times(K8SLOCK_FAST),
        least: least.fast,
      },
      {
        what: `${what}: least/most share`,
        value: ours['least/most'],
        least: least.share,
      },
    );
  }
  return targets;
}

async function runCallers(setting: Setting, rounds: number, duration: number) {
  const crowd: Crowd = { pods: 8, callersPerPod: 4, section: 0 };
  const { contend } = await openPods(setting, 'ours', crowd.pods);
  const contests = (
    await inTurns(new Map([[OURS, contend]]), crowd, rounds, duration)
  ).get(OURS)!;
  const row = summarize(contests);
  const target: Target = {
    what: '8 pods of 4 callers: least/most share of callers',
    value: row['least/most'],
    least: LEAST_SHARE_OF_CALLERS,
  };
  return { row, target, faults: contests.flatMap(({ faults }) => faults) };
}
