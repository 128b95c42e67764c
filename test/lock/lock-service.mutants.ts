import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('A4', {
  'fencing token that a deletion sets back': {
    fencingTokenOf: () => (lease) => BigInt(lease.spec?.leaseTransitions ?? 0),
  },
});
