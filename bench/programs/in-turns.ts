/** Takes samples of a measurement and of its baseline in turns. */
import { monotonic } from '../../verification/processes/programs/calls.js';

/** Of what is measured and of its baseline, in milliseconds. */
export type Samples = [measured: number[], baseline: number[]];

export async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const before = monotonic();
  await work();
  return monotonic() - before;
}

/** Takes both samples of a round one right after the other, so that both meet the same load. */
export async function inTurns(
  rounds: number,
  measure: () => Promise<number>,
  measureBaseline: () => Promise<number>,
): Promise<Samples> {
  const samples: Samples = [[], []];
  const warmUp = rounds / 4;
  for (let round = -warmUp; round < rounds; round += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
    const baseline = await measureBaseline();
    // oxlint-disable-next-line no-await-in-loop -- as above
    const measured = await measure();
    if (round >= 0) {
      samples[0].push(measured);
      samples[1].push(baseline);
    }
  }
  return samples;
}
