/**
 * `node simulate-mutant.js NAME SEEDS`: simulates seeds, of an engine that the mutant of this name has broken,
 * until one fails, and prints the verdict. The modules of lib must have been exposed.
 */
import { findMutant } from '../../test/mutants/mutant.js';
import { Mutation } from '../../test/mutants/mutation.js';
import type { Verdict } from './verdict.js';

const [, , name = '', seeds] = process.argv;
const mutant = await findMutant(name);
const mutation = new Mutation(mutant);
const { catchUnhandledRejections, simulate } =
  await import('../simulation/simulation.js');
const { kindOf } = await import('../simulation/scenario-kinds.js');
mutation.assertApplied();
catchUnhandledRejections();
const kind = kindOf(mutant);

async function simulateAll(): Promise<Verdict['found']> {
  for (let seed = 1; seed <= Number(seeds); seed += 1) {
    // oxlint-disable-next-line no-await-in-loop -- the simulator has one virtual time
    const { findings } = await simulate(seed, { kind });
    if (findings.length > 0) {
      return { what: findings[0]!.check, seed };
    }
  }
  return undefined;
}

const found = await simulateAll();
const verdict: Verdict = { entered: mutation.entered, found };
console.log(JSON.stringify(verdict));
