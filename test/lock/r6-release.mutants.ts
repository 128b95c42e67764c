import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf('R6', {
    'release that leaves the duration': {
      release: (original) => (lease) => {
        const freed = original(lease);
        const { leaseDurationSeconds } = lease.spec;
        return { ...freed, spec: { ...freed.spec, leaseDurationSeconds } };
      },
    },
  }),
  ...mutantsOf('A1', {
    'release without looking whether the record is ours': {
      isHeldBy: () => (lease) => Boolean(lease),
    },
  }),
];
