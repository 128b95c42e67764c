/** From the release in one pod to the acquisition in another, in turns with a raw PUT and its event between the same two. */
import type { TestProcess } from '../../verification/processes/test-process.js';
import { openPods } from '../crowds.js';
import type { ContenderCalls } from '../programs/contender.js';
import { percentile, type Row } from '../report.js';
import type { Bench } from '../setting.js';

const MOST = { most: 1.8, was: 1.2 };
const SECTION = 5;
const PUTS = 100;

export const handover: Bench = {
  about:
    'Two pods hand one lock to each other, against one raw PUT with its watch event.',

  async run(setting) {
    const { quick } = setting.options;
    const { processes, contend } = await openPods(setting, 'ours', 2);
    const [one, other] = processes;
    const opened = other!.nextEvent('raw-event');
    await one!.call('createRaw');
    await other!.call('watchRaw');
    await opened;
    const handovers: number[] = [];
    const puts: number[] = [];
    const faults: string[] = [];
    for (let round = 0; round < (quick ? 2 : 10); round += 1) {
      // oxlint-disable no-await-in-loop -- in turns, so that both meet the same load
      for (let number = 0; number < PUTS; number += 1) {
        puts.push(await tell(one!, other!));
      }
      const crowd = { pods: 2, callersPerPod: 1, section: SECTION };
      const contest = await contend(crowd, 1_500);
      // oxlint-enable no-await-in-loop
      handovers.push(...contest.handovers);
      faults.push(...contest.faults);
    }
    return {
      tables: [
        {
          title: `Handover between two pods, section of ${SECTION} ms`,
          rows: [
            rowOf('from release to acquired', handovers),
            rowOf('raw PUT to its event', puts),
          ],
        },
      ],
      targets: [
        {
          what: 'handover p50 / raw PUT with its event',
          value: percentile(handovers, 0.5) / percentile(puts, 0.5),
          ...MOST,
        },
      ],
      faults,
    };
  },
};

type Pod = TestProcess<ContenderCalls>;

async function tell(giver: Pod, taker: Pod): Promise<number> {
  const told = taker.nextEvent('raw-event');
  const putAt = await giver.call('putRaw');
  return (await told).at - putAt;
}

function rowOf(what: string, samples: readonly number[]): Row {
  return {
    what,
    times: samples.length,
    'p50 ms': percentile(samples, 0.5),
    'p95 ms': percentile(samples, 0.95),
    'p99 ms': percentile(samples, 0.99),
  };
}
