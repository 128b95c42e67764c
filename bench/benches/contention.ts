/** Crowds contend for one lock without pause, in turns with the peers: throughput, requests, fairness, waits. */
import { CROWDED } from '../../lib/lock/record/line.js';
import {
  goPeers,
  openPods,
  summarize,
  type Contender,
  type Contest,
  type Crowd,
} from '../crowds.js';
import type { Row, Target } from '../report.js';
import type { Bench, Setting } from '../setting.js';

const OURS = 'nestjs-k8s-lock';
const K8SLOCK_FAIR = 'k8slock, 10 ms retry';
const K8SLOCK_FAST = 'k8slock, 1 s retry';

/** How many locks a second, in those of a peer: at least, and what was the goal at first, if that was another. */
interface Times {
  readonly least: number;
  readonly was?: number;
}

/** What each size of a crowd needs to be, with an empty section. */
const LEAST: Readonly<
  Record<number, { fair: Times; fast: Times; share: number }>
> = {
  8: {
    fair: { least: 2, was: 3 },
    fast: { least: 1.3, was: 2 },
    share: 0.95,
  },
  32: {
    fair: { least: 4 },
    fast: { least: 1.2 },
    share: 0.9,
  },
};
const MOST_REQUESTS = 1.5;
/** Of pods that are too many for the line. */
const MOST_REQUESTS_OUTSIDE = 4;

export const contention: Bench = {
  about:
    'Pods take one lock again and again, and in turns with them k8slock, client-go and a naive lock do.',

  async run(setting) {
    const { quick, crowds } = setting.options;
    const rows: Row[] = [];
    const targets: Target[] = [];
    const faults: string[] = [];
    for (const pods of crowds) {
      // oxlint-disable no-await-in-loop -- one after the other: each has the machine for itself
      const contenders = await contendersOf(setting, pods);
      const rounds = quick || pods > 32 ? 1 : 3;
      const duration = durationOf(pods) / (quick ? 2 : 1);
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
    return {
      tables: [{ title: 'One caller in each pod', rows }],
      targets,
      faults,
    };
  },
};

/** Milliseconds: long enough for each pod to get many turns. */
function durationOf(pods: number): number {
  return Math.min(15_000, Math.max(5_000, pods * 200));
}

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
      ...(pods > CROWDED
        ? { most: MOST_REQUESTS_OUTSIDE, was: MOST_REQUESTS }
        : { most: MOST_REQUESTS }),
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
        ...least.fair,
      },
      {
        what: `${what}: locks/s, times ${K8SLOCK_FAST}`,
        value: times(K8SLOCK_FAST),
        ...least.fast,
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
