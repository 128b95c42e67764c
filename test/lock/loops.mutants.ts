import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf(
    'A6',
    {
      'write whose answer shows another record counted': {
        isStoredAs: () => () => true,
      },
    },
    'spec',
  ),
  ...mutantsOf(
    'A7',
    {
      'retry without a pause': {
        backoff: () => () => 0,
      },
      'retry that nobody is told of': {
        reportFailure: () => () => undefined,
      },
    },
    'spec',
  ),
];
