import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('R9', {
  'Lease deleted by a release that was not asked to': {
    freeRecord: (original) => (context, local, lock, ending) =>
      original(context, local, lock, { ...ending, remove: true }),
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
