import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'A23',
  {
    'locks closed after everything else': {
      'K8sLockLifecycle#beginShutdown': () => () => undefined,
    },
  },
  'spec',
);
