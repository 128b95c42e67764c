import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf('R2', {
    'leaseDurationSeconds absent for an infinite lease': {
      durationSeconds: (original) => (duration) =>
        duration < Infinity ? original(duration) : undefined,
    },
  }),
  ...mutantsOf(
    'R2',
    {
      'transitions that do not count who takes the lock': {
        take:
          (original) =>
          (lease, ...rest) => {
            const taken = original(lease, ...rest);
            const { leaseTransitions } = lease.spec ?? {};
            return { ...taken, spec: { ...taken.spec, leaseTransitions } };
          },
      },
      'new record without acquireTime': {
        createTaken:
          (original) =>
          (...call) => {
            const { spec, ...lease } = original(...call);
            const { acquireTime: _time, ...others } = spec;
            return { ...lease, spec: others };
          },
      },
    },
    'spec',
  ),
];
