/** Each breaking of a rule is caught by the simulator: a rule that can be broken unnoticed is no rule. */
import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  buildMutants,
  removeMutants,
  runSimulator,
  type Mutant,
  type Verdict,
} from './mutation.js';
import { MUTANTS } from './mutants.js';
import { simulate } from './simulation.js';

/** Seeds within which each mutant must be caught. */
const MOST_SEEDS = 1_000;
const BUILD_TIME = 60_000;
const RUN_TIME = 600_000;

describe('mutants', () => {
  const verdicts = new Map<Mutant, Promise<Verdict>>();

  beforeAll(async () => {
    const folders = await buildMutants(MUTANTS);
    const lanes = Array.from(
      { length: availableParallelism() },
      (): Promise<unknown> => Promise.resolve(),
    );
    for (const [index, mutant] of MUTANTS.entries()) {
      const lane = index % lanes.length;
      const verdict = lanes[lane]!.then(() =>
        runSimulator(folders.get(mutant)!, MOST_SEEDS),
      );
      verdicts.set(mutant, verdict);
      lanes[lane] = verdict.catch(() => undefined);
    }
  }, BUILD_TIME);

  afterAll(removeMutants);

  it.each(MUTANTS)(
    'catches: $name',
    async (mutant) => {
      const { seeds, failed } = await verdicts.get(mutant)!;
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
