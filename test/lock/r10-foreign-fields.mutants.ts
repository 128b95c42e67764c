import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf('R10', {
    'annotations of others dropped': {
      take:
        (original) =>
        (lease, ...rest) => {
          const metadata = { ...lease.metadata, annotations: {} };
          return original({ ...lease, metadata }, ...rest);
        },
    },
    'Lease of coordinated leader election taken': {
      isCoordinated: () => () => false,
    },
  }),
  ...mutantsOf(
    'A2',
    {
      'notes of our own left in the record': {
        withoutManagedFields: () => (lease) => lease,
      },
      'notes of what somebody applied removed': {
        isNoteOfOurs: () => () => true,
      },
      'notes removed from the Lease of somebody else': {
        isLabelled: () => () => true,
      },
    },
    'spec',
  ),
];
