import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('A22', {
  'sleep that ignores cancellation': {
    pause: (original) => (clock, delay) => original(clock, delay),
  },
});
