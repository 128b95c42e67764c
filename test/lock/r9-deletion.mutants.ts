import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('R9', {
  'Lease deleted by a release that was not asked to': {
    'LeaseWriter#release': (original) =>
      function (ending) {
        return original.call(this, { ...ending, remove: true });
      },
  },
  'Lease deleted whatever it has become': {
    'LocalLease#delete': (original) =>
      function (lease, options) {
        const {
          uid: _uid,
          resourceVersion: _version,
          ...metadata
        } = lease.metadata;
        return original.call(this, { ...lease, metadata }, options);
      },
  },
});
