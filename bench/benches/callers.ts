/** Several callers in each pod contend for one lock: each caller gets its share. */
import { openPods, summarize, type Contest, type Crowd } from '../crowds.js';
import type { Row } from '../report.js';
import type { Bench, Setting } from '../setting.js';

const FEW_PODS: Crowd = { pods: 8, callersPerPod: 4, section: 0 };
const ONE_POD: Crowd = { pods: 1, callersPerPod: 1_000, section: 0 };
const LEAST_SHARE = 0.8;
/** Other bounds of the handovers in a row within a process; the last is as good as none. */
const BOUNDS = [0, 2, 4, 16, 1_000];

export const callers: Bench = {
  about:
    'Pods with several callers each take one lock again and again. A process hands the lock over to its own callers twice in a row while others are in line.',

  async run(setting) {
    const contest = await contend(setting, FEW_PODS);
    const alone = await contend(setting, ONE_POD);
    const bounded: Contest[] = [];
    for (const bound of BOUNDS) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other: each has the machine for itself
      bounded.push(await contend(setting, FEW_PODS, bound));
    }
    return {
      tables: [
        {
          title: 'Several callers in each pod, empty section',
          rows: [rowOf(FEW_PODS, contest), rowOf(ONE_POD, alone)],
        },
        {
          title: `${FEW_PODS.pods} pods of ${FEW_PODS.callersPerPod} callers, with other bounds`,
          rows: bounded.map((each, index) => ({
            'handovers in a row': BOUNDS[index]!,
            ...summarize([each]),
          })),
        },
      ],
      targets: [
        {
          what: `${FEW_PODS.pods} pods of ${FEW_PODS.callersPerPod} callers: least/most share of callers`,
          value: contest.share,
          least: LEAST_SHARE,
        },
      ],
      faults: [contest, alone, ...bounded].flatMap(({ faults }) => faults),
    };
  },
};

async function contend(
  setting: Setting,
  crowd: Crowd,
  mostHandovers?: number,
): Promise<Contest> {
  const pods = await openPods(setting, 'ours', crowd.pods, mostHandovers);
  const contest = await pods.contend(
    crowd,
    setting.options.quick ? 3_000 : 15_000,
  );
  await Promise.all(pods.processes.map((each) => each[Symbol.asyncDispose]()));
  return contest;
}

function rowOf(crowd: Crowd, contest: Contest): Row {
  return {
    pods: crowd.pods,
    'callers in each': crowd.callersPerPod,
    ...summarize([contest]),
  };
}
