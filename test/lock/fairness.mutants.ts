import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'turns among pods',
  {
    'lock acquired again before others had their turn': {
      'Fairness#takeDelay': () => () => 0,
    },
  },
  'spec',
);
