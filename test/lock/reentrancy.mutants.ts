import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf('A20', {
    'lock given back by the first that shares it': {
      'LeaseHolder#giveBack': () =>
        function () {
          return this.release();
        },
    },
    'lock that was shared never given back': {
      'LeaseHolder#lend': (original) =>
        function () {
          const isShared = this.handles > 0;
          original.call(this);
          if (isShared) {
            original.call(this);
          }
        },
    },
  }),
  ...mutantsOf(
    'A21',
    {
      'lock lent to another service': {
        'HeldLock#isSharedWith': () => () => true,
      },
      'lock lent after its release': {
        skipReleased: () => (scope) => scope,
      },
    },
    'spec',
  ),
];
