import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf(
    'A9',
    {
      'handover to the next caller of the process, whoever waits': {
        'LeaseHolder#mayHandOver': () =>
          function () {
            return this.local.queue.hasWaiters;
          },
      },
      'handovers without end while other processes are in line': {
        'LocalLease#hasOthersInLine': () => () => false,
      },
      'turn of the present holder ended by a former one': {
        'LeaseHolder#end': (original) =>
          async function () {
            await original.call(this);
            this.local.leave();
          },
      },
    },
    'spec',
  ),
  ...mutantsOf(
    'what callers of one process learn of each other',
    {
      'failure of the caller in front kept from those behind it': {
        'LocalLease#fail': () => () => undefined,
      },
    },
    'spec',
  ),
];
