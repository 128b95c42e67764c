import { mutantsOf } from '../mutants/mutant.js';

const bySimulator = mutantsOf(
  'A15',
  {
    'a process that leads until it is told otherwise': {
      'LeaderElection#isLeader': (original) =>
        function isLeader() {
          return this.state === 'leading' || original.call(this);
        },
    },
    'a leadership that stays true after its deadline and its signal': {
      'LeaderTerm#isHeld': () => () => true,
    },
    'a process that contends again and has not released its lock': {
      'LeaderElection#lead': (original) =>
        function (lock) {
          const kept = Object.create(lock, {
            release: { value: async () => undefined },
          });
          return original.call(this, kept);
        },
    },
    'work of two leaderships at once': {
      'LeaderTerm#idle': () => async () => undefined,
    },
    'a process that contends once': {
      'LeaderElection#contend': () =>
        async function (client) {
          try {
            await this.lead(await this.acquire(client));
          } catch (error) {
            this.noteFailure(error);
          }
        },
    },
    'an end of a leadership that is kept secret': {
      'LeaderElection#depose': () => async () => undefined,
    },
    'a failed leader that keeps the lock': {
      'LeaderTerm#stepDown': () => () => undefined,
    },
  },
  'simulator of elections',
);

const bySpec = mutantsOf(
  'A15',
  {
    'a process leads by a flag': {
      'LeaderElection#isLeader': (original) =>
        function isLeader() {
          return original.call(this) || this.state === 'leading';
        },
    },
    'a leadership that outlives its lock': {
      'LeaderTerm#isHeld': () =>
        function () {
          return !this.steppedDown.signal.aborted;
        },
    },
    'work runs under a leadership that has ended': {
      'LeaderElection#present': (original) =>
        function present() {
          return original.call(this) ?? this.term;
        },
    },
    'a process leads again while work of its last leadership runs': {
      'LeaderTerm#idle': () => async () => undefined,
    },
    'a process leads on whose method under @OnElected has failed': {
      'LeaderTerm#stepDown': () => () => undefined,
    },
    'nobody is told that a leadership has ended': {
      'LeaderElection#depose': () => async () => undefined,
    },
  },
  'spec',
);

export const mutants = [...bySimulator, ...bySpec];
