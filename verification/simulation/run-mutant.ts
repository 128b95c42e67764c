/**
 * `node run-mutant.js NAME SEEDS`: simulates seeds, of an engine that the mutant of this name has broken, until
 * one fails, and prints what came of it. The modules of lib must have been exposed.
 */
import { findMutant } from '../../test/mutants/mutant.js';
import { Mutation } from '../../test/mutants/mutation.js';
import type { Finding } from './findings.js';

/** What a run of the simulator came to. */
export interface Verdict {
  readonly seeds: number;
  /** How often what is broken was called. */
  readonly entered: number;
  readonly failed?: {
    readonly seed: number;
    readonly findings: readonly Finding[];
  };
}

const [, , name = '', seeds = '1000'] = process.argv;
const mutation = new Mutation(await findMutant(name));
const { catchUnhandledRejections, simulate } = await import('./simulation.js');
mutation.assertApplied();
catchUnhandledRejections();

async function run(): Promise<Verdict> {
  for (let seed = 1; seed <= Number(seeds); seed += 1) {
    // oxlint-disable-next-line no-await-in-loop -- the simulator has one virtual time
    const { findings } = await simulate(seed);
    if (findings.length > 0) {
      const { entered } = mutation;
      return { seeds: seed, entered, failed: { seed, findings } };
    }
  }
  return { seeds: Number(seeds), entered: mutation.entered };
}

console.log(JSON.stringify(await run()));
