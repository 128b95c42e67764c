import { mutantsOf } from '../mutants/mutant.js';

const ofDeadline = mutantsOf('R8', {
  'no own deadline': {
    deadlineOf: () => () => Infinity,
  },
  'deadline counted from the answer': {
    'LocalLease#replace': (original) =>
      async function (...args) {
        const written = await original.apply(this, args);
        return { ...written, sentAt: this.clock.now() };
      },
  },
  'no safety margin': {
    deadlineOf: (original) => (sentAt, options) =>
      original(sentAt, { ...options, safetyMargin: 0 }),
  },
  'deadline timer set by its length, which a pause makes late': {
    'LeaseHolder#later': (original) =>
      function (at, callback) {
        const { clock } = this.context;
        const delay = at - clock.now();
        return original.call(this, clock.now() + delay, callback);
      },
  },
  'renewal goes on after loss': {
    'LeaseHolder#isHeld': (original) =>
      function () {
        return original.call(this) || !this.isReleased;
      },
    'LeaseHolder#stop': (original) =>
      function () {
        if (this.isReleased) {
          original.call(this);
        } else {
          this.goesOn = true;
        }
      },
    'LeaseHolder#deadline': (original) =>
      function () {
        return this.goesOn ? Infinity : original.call(this);
      },
    'LeaseHolder#checkRecord': (original) =>
      function (lease) {
        return original.call(this, lease) || (this.goesOn && lease !== null);
      },
    'LeaseHolder#requestOptions': (original) =>
      function () {
        return { ...original.call(this), signal: undefined };
      },
  },
  'watch trusted over the record': {
    'LeaseHolder#recordGone': () =>
      function () {
        this.lose('deleted');
      },
  },
});

const ofHealthCheck = mutantsOf(
  'when a lock counts as overdue',
  {
    'lock overdue before it could be renewed': {
      overdueAt: (original) => (sentAt, timing) =>
        original(sentAt, timing, -Infinity),
    },
  },
  'spec',
);

export const mutants = [...ofDeadline, ...ofHealthCheck];
