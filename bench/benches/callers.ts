/** Several callers in each pod contend for one lock: each caller gets its share. */
import { openPods, summarize, type Crowd } from '../crowds.js';
import type { Row, Target } from '../report.js';
import type { Bench } from '../setting.js';

const CROWDS: readonly (Crowd & { leastShare?: number })[] = [
  { pods: 8, callersPerPod: 4, section: 0, leastShare: 0.8 },
  { pods: 1, callersPerPod: 1_000, section: 0 },
];

export const callers: Bench = {
  about: 'Pods with several callers each take one lock again and again.',

  async run(setting) {
    const rows: Row[] = [];
    const targets: Target[] = [];
    const faults: string[] = [];
    for (const crowd of CROWDS) {
      const { pods, callersPerPod, leastShare } = crowd;
      // oxlint-disable no-await-in-loop -- one after the other: each has the machine for itself
      const { contend } = await openPods(setting, 'ours', pods);
      const contest = await contend(
        crowd,
        setting.options.quick ? 3_000 : 15_000,
      );
      // oxlint-enable no-await-in-loop
      rows.push({
        pods,
        'callers in each': callersPerPod,
        ...summarize([contest]),
      });
      faults.push(...contest.faults);
      if (leastShare !== undefined) {
        targets.push({
          what: `${pods} pods of ${callersPerPod} callers: least/most share of callers`,
          value: contest.share,
          least: leastShare,
        });
      }
    }
    return {
      tables: [{ title: 'Several callers in each pod, empty section', rows }],
      targets,
      faults,
    };
  },
};
