import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('A5', {
  'lower version ignored while the Lease is known to be absent': {
    'ObservedLease#forget': (original) =>
      function () {
        if (this.lease) {
          original.call(this);
        }
      },
  },
  'answers to writes that are older than what was known ignored': {
    'LocalLease#seeAnswer': () =>
      function (lease, _, how) {
        return this.see(lease, how);
      },
  },
});
