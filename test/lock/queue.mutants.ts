import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf('A8', {
    'local waiter gives up and nobody releases for the one before': {
      'LocalLease#leave': (original) =>
        function () {
          this.endHandover = undefined;
          original.call(this);
        },
    },
  }),
  ...mutantsOf(
    'A8',
    {
      'only the last of the holders that have ended is remembered': {
        'ObservedLease#markReleased': (original) =>
          function (identity, claim) {
            this.ended.clear();
            original.call(this, identity, claim);
          },
      },
    },
    'spec',
  ),
  ...mutantsOf(
    'polling beneath the watch',
    {
      'a watch that has told nothing but the first state spares polls': {
        'LocalLease#isToldOfChanges': () =>
          function () {
            return this.isTold;
          },
      },
      'a process that is told of renewals polls as often as one that is not': {
        'LocalLease#isToldOfChanges': () => () => false,
      },
    },
    'spec',
  ),
];
