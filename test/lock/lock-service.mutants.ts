import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf(
    'A3',
    {
      'loss of the lock in the place of the error of the work': {
        runUnderLock: (original) => (held: LeaseLock, work: () => unknown) =>
          original(held, async () => {
            try {
              return await work();
            } catch (error) {
              held.assertHeld();
              throw error;
            }
          }),
      },
    },
    'spec',
  ),
  ...mutantsOf('A4', {
    'fencing token that a deletion sets back': {
      fencingTokenOf: () => (lease) =>
        BigInt(lease.spec?.leaseTransitions ?? 0),
    },
  }),
];
