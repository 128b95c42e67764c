import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('fencing token', {
  'fencing token that a deletion sets back': {
    fencingTokenOf: () => (lease) => BigInt(lease.spec?.leaseTransitions ?? 0),
  },
});
