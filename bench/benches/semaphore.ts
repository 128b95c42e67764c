/** A crowd contends for a semaphore, and for a lock: what the permits bring. */
import { openPods, summarize } from '../crowds.js';
import type { Row } from '../report.js';
import type { Bench } from '../setting.js';

const PODS = 32;
const PERMITS = [1, 8];
const SECTIONS = [5, 50];

export const semaphore: Bench = {
  about: `${PODS} pods take a semaphore of ${PERMITS.at(-1)} permits again and again, and a lock.`,

  async run(setting) {
    const { contend } = await openPods(setting, 'ours', PODS);
    const rows: Row[] = [];
    const faults: string[] = [];
    for (const section of SECTIONS) {
      for (const permits of PERMITS) {
        const crowd = { pods: PODS, callersPerPod: 1, section, permits };
        // oxlint-disable-next-line no-await-in-loop -- one after the other: each has the machine for itself
        const contest = await contend(
          crowd,
          setting.options.quick ? 5_000 : 15_000,
        );
        const { 'handover p50 ms': _, ...figures } = summarize([contest]);
        rows.push({ permits, 'section ms': section, ...figures });
        faults.push(...contest.faults);
      }
    }
    return {
      tables: [{ title: `One caller in each of ${PODS} pods`, rows }],
      targets: [],
      faults,
    };
  },
};
