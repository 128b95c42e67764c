import { mutantsOf } from '../mutants/mutant.js';

const ofWrites = mutantsOf('R7', {
  'identity reused per process': {
    newHolderIdentity: () => (clientId) => `${clientId}_0`,
  },
  'ambiguous write taken as failed': {
    'FailedWrites#leaveAmbiguous': () => () => undefined,
  },
  'ambiguous write taken as success': {
    'LocalLease#replace': (original) =>
      async function (make, options) {
        let sent: unknown;
        const makeOnce = () => (sent = make());
        try {
          return await original.call(this, makeOnce, options);
        } catch (error) {
          if (sent !== undefined && Reflect.get(Object(error), 'ambiguous')) {
            return { lease: sent, sentAt: this.clock.now() };
          }
          throw error;
        }
      },
  },
  'ambiguous write not made impossible when nobody wants it any more': {
    // It is taken for overtaken unless it has landed.
    'LeaseWriter#undo': (original) =>
      function (identity, _basedOn, giveUpAt) {
        return original.call(this, identity, '', giveUpAt);
      },
  },
  'lock that does not expire created taken': {
    newRecord:
      (original) =>
      (key, newHolder, ...rest) => {
        if (newHolder.leaseDuration < Infinity) {
          return original(key, newHolder, ...rest);
        }
        const expiring = { ...newHolder, leaseDuration: 1_000 };
        const record = original(key, expiring, ...rest);
        const leaseDurationSeconds = 2_147_483_647;
        return { ...record, spec: { ...record.spec, leaseDurationSeconds } };
      },
  },
});

const ofUndoing = mutantsOf(
  'R7',
  {
    'identity of a write that is being undone given to the next caller': {
      'FailedWrites#undo': (original) =>
        function () {
          const undone: Promise<void> = original.call(this);
          this.ambiguous = undefined;
          return undone;
        },
    },
  },
  'spec',
);

export const mutants = [...ofWrites, ...ofUndoing];
