/** A fixed set of seeds, which nothing may be wrong with, and that a seed is the same run each time. */
import { describe, expect, it } from 'vitest';
import { KINDS } from './scenario-kinds.js';
import { simulate } from './simulation.js';
import { COUNTED, Statistics } from './statistics.js';

const SEEDS = { locks: 50, semaphores: 10, elections: 10, lines: 10 };
const BATCH = 10;

const statistics = new Statistics();

describe('simulation', () => {
  const batches = KINDS.flatMap((kind) =>
    Array.from({ length: SEEDS[kind] / BATCH }, (_, i) => ({
      kind,
      from: i * BATCH + 1,
      to: (i + 1) * BATCH,
    })),
  );

  it.each(batches)(
    'finds nothing in seeds $from to $to of $kind',
    async ({ kind, from, to }) => {
      for (let seed = from; seed <= to; seed += 1) {
        // oxlint-disable-next-line no-await-in-loop -- the simulator has one virtual time
        const { findings, ...outcome } = await simulate(seed, { kind });
        expect(
          findings,
          `npm run verify -- simulation --kind ${kind} --seed ${seed}`,
        ).toEqual([]);
        statistics.add(outcome.statistics);
      }
    },
  );

  it.each(COUNTED)('has seen %s', (what) => {
    expect(statistics.get(what)).toBeGreaterThan(0);
  });

  it.each(KINDS)('replays a seed of %s exactly', async (kind) => {
    for (const seed of [1, 17, 42]) {
      // oxlint-disable no-await-in-loop -- the simulator has one virtual time
      const first = await simulate(seed, { kind, withTimeline: true });
      const second = await simulate(seed, { kind, withTimeline: true });
      const silent = await simulate(seed, { kind });
      // oxlint-enable no-await-in-loop
      expect(first.timeline.length).toBeGreaterThan(50);
      expect(second).toEqual(first);
      expect({ ...silent, timeline: first.timeline }).toEqual(first);
    }
  });

  it('tells seeds apart', async () => {
    const [first, second] = [await simulate(1), await simulate(2)];
    expect(first.digest).not.toBe(second.digest);
  });
});
