import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf('A30', {
    'missed fire not made up for': {
      isMissed: () => () => false,
    },
  }),
  ...mutantsOf(
    'A30',
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
