import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('R4', {
  'a holder without a duration taken for expired': {
    readHolder: (original) => (lease) => {
      const state = original(lease);
      return lease.spec?.leaseDurationSeconds
        ? state
        : { ...state, duration: 0 };
    },
  },
});
