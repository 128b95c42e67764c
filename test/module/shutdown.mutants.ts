import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'locks close before everything that may wait for them',
  {
    'locks closed after everything else': {
      'K8sLockLifecycle#beginShutdown': () => () => undefined,
    },
  },
  'spec',
);
