import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf('A22', {
    'sleep that ignores cancellation': {
      pause: (original) => (clock, delay) => original(clock, delay),
    },
  }),
  ...mutantsOf(
    'A22',
    {
      'wait that ends a while after it was cancelled': {
        'AcquireCall#stop': (original) =>
          function (reason) {
            const { clock } = this.context;
            clock.schedule(clock.now() + 100, () =>
              original.call(this, reason),
            );
          },
      },
      'write of a cancelled call that stays': {
        'FailedWrites#undo': () => () => Promise.resolve(),
      },
    },
    'spec',
  ),
];
