/**
 * `node simulate-mutant.js NAME SEEDS`: simulates seeds, of an engine that the mutant of this name has broken,
 * until one fails, and prints the verdict. The modules of lib must have been exposed.
 */
import { findMutant } from '../../test/mutants/mutant.js';
import { Mutation } from '../../test/mutants/mutation.js';
import type { Verdict } from './verdict.js';

const [, , name = '', seeds] = process.argv;
const mutation = new Mutation(await findMutant(name));
const { catchUnhandledRejections, simulate } =
  await import('../simulation/simulation.js');
mutation.assertApplied();
catchUnhandledRejections();

async function simulateAll(): Promise<Verdict['found']> {
  for (let seed = 1; seed <= Number(seeds); seed += 1) {
    // oxlint-disable-next-line no-await-in-loop -- the simulator has one virtual time
    const { findings } = await simulate(seed);
    if (findings.length > 0) {
      return { what: findings[0]!.check, seed };
    }
  }
  return undefined;
}

const found = await simulateAll();
const verdict: Verdict = { entered: mutation.entered, found };
console.log(JSON.stringify(verdict));
