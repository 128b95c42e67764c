import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'A34',
  {
    'job that is added later not followed': {
      followScheduler:
        (original) =>
        (registry, ...rest) => {
          original(registry, ...rest);
          delete registry.addCronJob;
          delete registry.addInterval;
        },
    },
    'every job taken for that of one method': {
      followScheduler:
        (original) =>
        (registry, methods, ...rest) => {
          let first: unknown;
          const ofCronJob = (...job: unknown[]): unknown =>
            (first ??= methods.ofCronJob(...job));
          const known = Object.create(methods, {
            ofCronJob: { value: ofCronJob },
          });
          original(registry, known, ...rest);
        },
    },
    'every scheduled method taken for the one that the scheduler calls': {
      isMethod: () => () => true,
    },
  },
  'spec',
);
