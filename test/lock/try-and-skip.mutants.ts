import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('A24', {
  'skip that takes every holder for alive': {
    'WaitPolicy#expiresSoon': () => () => false,
  },
});
