import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf('catchUp', {
    'missed fire not made up for': {
      isMissed: () => () => false,
    },
  }),
  ...mutantsOf(
    'catchUp',
    {
      'fire that was run taken for missed': {
        isMissed: () => (_fire, _retry, lease) => lease !== null,
      },
      'look for a missed fire given up when it fails once': {
        isTransient: () => () => false,
      },
    },
    'spec',
  ),
];
