import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'A34',
  {
    'every scheduled method taken for the one that the scheduler calls': {
      isMethod: () => () => true,
    },
  },
  'spec',
);
