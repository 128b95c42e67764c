import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'retries end, pause and are told',
  {
    'retry without a pause': {
      backoff: () => () => 0,
    },
    'retry that nobody is told of': {
      reportFailure: () => () => undefined,
    },
    'write whose answer shows another record counted': {
      isStoredAs: () => () => true,
    },
  },
  'spec',
);
