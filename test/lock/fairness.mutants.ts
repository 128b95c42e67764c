import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'A9',
  {
    'place of one who comes in front of those who wait': {
      'PlaceInLine#numberIn': (original) =>
        function (lease) {
          return -original.call(this, lease);
        },
    },
    'line ordered by who it is, and not by when it came': {
      isBefore: () => (a, b) => a.identity < b.identity,
    },
  },
  'spec',
);
