import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'a process leads for as long as it holds the lock, and its work is over before it contends again',
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
