import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf(
    'A3',
    {
      'loss of the lock in the place of the error of the work': {
        'LockService#withLock': (original) =>
          function (name, ...rest) {
            const work = rest.pop();
            return original.call(
              this,
              name,
              ...rest,
              async (lock: LeaseLock) => {
                try {
                  return await work(lock);
                } catch (error) {
                  lock.assertHeld();
                  throw error;
                }
              },
            );
          },
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
