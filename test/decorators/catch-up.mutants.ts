import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('catchUp', {
  'missed fire not made up for': {
    isMissed: () => () => false,
  },
});
