import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('cancellation', {
  'sleep that ignores cancellation': {
    pause: (original) => (clock, delay) => original(clock, delay),
  },
});
