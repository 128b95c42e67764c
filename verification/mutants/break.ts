/** Breaks lib before a spec loads it, and tells how often what is broken was called. */
import { writeFileSync } from 'node:fs';
import { afterAll } from 'vitest';
import { findMutant } from '../../test/mutants/mutant.js';
import { Mutation } from '../../test/mutants/mutation.js';

const { MUTANT = '', MUTANT_ENTERED = '' } = process.env;
const mutation = new Mutation(await findMutant(MUTANT));

afterAll(() => {
  writeFileSync(MUTANT_ENTERED, String(mutation.entered));
  mutation.assertApplied();
});
