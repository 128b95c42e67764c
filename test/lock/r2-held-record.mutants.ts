import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('R2', {
  'leaseDurationSeconds absent for an infinite lease': {
    durationSeconds: (original) => (duration) =>
      duration < Infinity ? original(duration) : undefined,
  },
});
