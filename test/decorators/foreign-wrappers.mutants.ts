import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'a call is for the fire of its own job',
  {
    'every scheduled method taken for the one that the scheduler calls': {
      isMethod: () => () => true,
    },
  },
  'spec',
);
