import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'A33',
  {
    'fires as cron computes them at the moment of the call': {
      planOfCron: (original) => (time) => ({
        ...original(time),
        next: (now: number) => time.getNextDateFrom(new Date(now)).toMillis(),
      }),
    },
  },
  'spec',
);
