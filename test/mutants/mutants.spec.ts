/** A mutant that names what lib does not have would break nothing, and so would never be caught. */
import { expect, it } from 'vitest';
import { addressesOfLib, faultsOf } from './exposed-lib.js';
import { readMutants } from './mutant.js';

const whole = (original: () => unknown): (() => unknown) => original;

it('each mutant names functions that lib has', async () => {
  const mutants = await readMutants();
  const addresses = await addressesOfLib();
  expect(mutants.flatMap((mutant) => faultsOf(mutant, addresses))).toEqual([]);
});

it('no two mutants have one name', async () => {
  const names = (await readMutants()).map(({ name }) => name);
  expect(names).toEqual([...new Set(names)]);
});

it.each([
  'readNothing',
  'LeaseHolder',
  'LeaseHolder#nothing',
  'LeaseHolder#constructor',
])('%s is none', async (address) => {
  const mutant = { name: 'a mutant', breaks: { [address]: whole } };
  expect(faultsOf(mutant, await addressesOfLib())).toEqual([
    expect.stringContaining(
      `The mutant "a mutant" breaks ${address}, and no module of lib declares`,
    ),
  ]);
});
