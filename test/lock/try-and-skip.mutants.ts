import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf('A24', {
    'skip that takes every holder for alive': {
      'WaitPolicy#expiresSoon': () => () => false,
    },
  }),
  ...mutantsOf(
    'A24',
    {
      'skip for a holder of unknown fate': {
        'WaitPolicy#goOnFor': () =>
          function () {
            return this.waits;
          },
      },
      'skip that waits for a holder that is alive': {
        'WaitPolicy#goOnFor': () => () => true,
      },
    },
    'spec',
  ),
];
