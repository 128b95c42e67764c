import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'A9',
  {
    'line ordered by who it is, and not by when it came': {
      isBefore: () => (a, b) => a.identity < b.identity,
    },
  },
  'spec',
);
