import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf('A31', {
    'fire skipped for a holder that has died since its last sign of life': {
      'WaitPolicy#mayBeDead': (original) =>
        function (verdict) {
          const aliveAt = verdict.wasSeenAlive ? Infinity : -Infinity;
          return original.call(this, { ...verdict, aliveAt });
        },
    },
    'fire given up at the waitTimeout for a holder that may be dead': {
      'WaitPolicy#endWait': (original) =>
        function (verdict) {
          return original.call(this, verdict) && verdict.takeable;
        },
    },
    'fire skipped for minHold that is over': {
      'WaitPolicy#mayBeDead': (original) =>
        function (verdict) {
          const retainedUntil = verdict.retainedUntil && Infinity;
          return original.call(this, { ...verdict, retainedUntil });
        },
    },
  }),
  ...mutantsOf('A32', {
    'fire that waits for as long as its holder lives': {
      'WaitPolicy#endWait': () =>
        function () {
          return this.isForFire;
        },
    },
    'fire that waits for its turn beyond the waitTimeout': {
      'AcquireCall#judgeFromBehind': (original) =>
        function (...args) {
          if (!this.policy.isForFire || this.local.holder === undefined) {
            original.apply(this, args);
          }
        },
    },
  }),
  ...mutantsOf('A14', {
    'waitTimeout that ends no wait': {
      'AcquireCall#timeIsUp': () => () => undefined,
    },
  }),
  ...mutantsOf('A22', {
    'signal that ends no wait': {
      'AcquireCall#limit': (original) =>
        function () {
          return original.call(this, undefined);
        },
    },
  }),
];
