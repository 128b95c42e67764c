/** Each breaking of a rule is caught: a rule that can be broken unnoticed is no rule. */
import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { readMutants } from '../../test/mutants/mutant.js';
import { kindOf, type Kind } from '../simulation/scenario-kinds.js';
import { simulate } from '../simulation/simulation.js';
import {
  buildSimulator,
  removeSimulator,
  runSimulator,
} from './in-simulator.js';
import { runSpec } from './in-spec.js';

/** Seeds within which the simulator must catch a mutant. */
const MOST_SEEDS = 1_000;

vi.setConfig({
  maxConcurrency: availableParallelism(),
  testTimeout: 600_000,
  hookTimeout: 60_000,
});

const mutants = await readMutants();

describe.concurrent('mutants', () => {
  let simulating: Promise<unknown> = Promise.resolve();

  /** What the engine as it is has to say to a seed: one after the other, since a process can simulate one at a time. */
  const findingsOfOriginal = async (
    seed: number,
    kind: Kind,
  ): Promise<readonly unknown[]> => {
    const outcome = simulating.then(() => simulate(seed, { kind }));
    simulating = outcome;
    return (await outcome).findings;
  };

  beforeAll(buildSimulator);

  afterAll(removeSimulator);

  for (const mutant of mutants) {
    it(`${mutant.rule}: ${mutant.name}`, async ({ signal }) => {
      const { entered, found } =
        mutant.caughtBy === 'spec'
          ? await runSpec(mutant, signal)
          : await runSimulator(mutant, MOST_SEEDS, signal);
      expect(entered, 'what it breaks was never called').toBeGreaterThan(0);
      expect(found, `the ${mutant.caughtBy} found nothing`).toBeDefined();
      const { what, seed } = found!;
      const where = seed === undefined ? '' : ` at seed ${seed}`;
      process.stdout.write(`${mutant.rule}: ${mutant.name}: ${what}${where}\n`);
      const original =
        seed === undefined
          ? []
          : await findingsOfOriginal(seed, kindOf(mutant));
      expect(original, 'the engine as it is fails as well').toEqual([]);
    });
  }
});
