import type { LockHandle } from '../../lib/lock/hold/lock-handle.js';
import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'A3',
  {
    'loss of the lock in the place of the error of the method': {
      runWithLocks: (original) => (run, work) =>
        original(run, async (lock: LockHandle) => {
          try {
            return await work(lock);
          } catch (error) {
            lock.assertHeld();
            throw error;
          }
        }),
    },
    'failure of a release in the place of what the method came to': {
      'LeaseWriter#release': (original) =>
        async function (ending) {
          const { context } = this;
          let failure: unknown;
          const emit = (event: { error?: unknown }): void => {
            failure = event.error;
            context.emit(event);
          };
          this.context = { ...context, emit };
          await original.call(this, ending);
          if (failure !== undefined) {
            throw failure;
          }
        },
    },
  },
  'spec',
);
