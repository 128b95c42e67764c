import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf(
    'A19',
    {
      'requests that wait sent the other way round': {
        'RequestQueue#admit': (original) =>
          function () {
            const { waiting } = this;
            const { renew, release, acquire, look } = waiting;
            this.waiting = {
              renew: look,
              release: acquire,
              acquire: release,
              look: renew,
            };
            original.call(this);
            this.waiting = waiting;
          },
      },
      'no room kept for renewals': {
        'RequestQueue#hasRoom': (original) =>
          function () {
            return original.call(this, 'renew');
          },
      },
      'renewal sent in its turn among all requests': {
        'RequestQueue#run': (original) =>
          function (_priority, ...rest) {
            return original.call(this, 'look', ...rest);
          },
      },
      'new locks taken while a renewal is late': {
        'RequestQueue#isRenewingLate': () => () => false,
      },
    },
    'spec',
  ),
  ...mutantsOf(
    'A18',
    {
      'a pause that the API server asked for not heeded': {
        'RequestQueue#pauseOf': () => () => 0,
      },
      'pause waited for by what can not wait so long': {
        'RequestQueue#pause': (original) =>
          function (asked) {
            const { waiting } = this;
            this.waiting = { renew: [], release: [], acquire: [], look: [] };
            original.call(this, asked);
            this.waiting = waiting;
          },
      },
    },
    'spec',
  ),
];
