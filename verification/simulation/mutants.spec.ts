/** Each breaking of a rule is caught by the simulator: a rule that can be broken unnoticed is no rule. */
import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readMutants, type Mutant } from '../../test/mutants/mutant.js';
import {
  buildForMutants,
  removeBuildForMutants,
  runSimulator,
} from './mutation.js';
import type { Verdict } from './run-mutant.js';
import { simulate } from './simulation.js';

/** Seeds within which each mutant must be caught. */
const MOST_SEEDS = 1_000;
const BUILD_TIME = 60_000;
const RUN_TIME = 600_000;

const mutants = await readMutants();

describe('mutants', () => {
  const verdicts = new Map<Mutant, Promise<Verdict>>();

  beforeAll(async () => {
    await buildForMutants();
    const lanes = Array.from(
      { length: availableParallelism() },
      (): Promise<unknown> => Promise.resolve(),
    );
    for (const [index, mutant] of mutants.entries()) {
      const lane = index % lanes.length;
      const verdict = lanes[lane]!.then(() => runSimulator(mutant, MOST_SEEDS));
      verdicts.set(mutant, verdict);
      lanes[lane] = verdict.catch(() => undefined);
    }
  }, BUILD_TIME);

  afterAll(removeBuildForMutants);

  it.each(mutants)(
    'catches: $name',
    async (mutant) => {
      const { seeds, entered, failed } = await verdicts.get(mutant)!;
      expect(entered, 'what it breaks was never called').toBeGreaterThan(0);
      expect(failed, `nothing was found in ${seeds} seeds`).toBeDefined();
      const { seed, findings } = failed!;
      process.stdout.write(
        `${mutant.rule}: ${mutant.name}: ${findings[0]!.check} at seed ${seed}\n`,
      );
      // It is the mutant that was caught: the engine as it is passes this seed.
      const original = await simulate(seed);
      expect(original.findings).toEqual([]);
    },
    RUN_TIME,
  );
});
