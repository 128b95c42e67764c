import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('a skip is for the living', {
  'skip that takes every holder for alive': {
    'WaitPolicy#expiresSoon': () => () => false,
  },
});
