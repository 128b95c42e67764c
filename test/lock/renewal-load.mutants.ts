import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'A17',
  {
    'a limit of requests in flight that stays': {
      'FlightLimit#change': () => () => undefined,
    },
    'a renewal given up before its answer can come': {
      'RequestQueue#timeOfRenewal': () => (left) => left / 2,
    },
  },
  'spec',
);
