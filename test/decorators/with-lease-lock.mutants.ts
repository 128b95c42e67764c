import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'the method’s own end wins',
  {
    'failure of a release in the place of what the method came to': {
      freeRecord:
        (original) =>
        async (context, ...rest) => {
          let failure: unknown;
          const emit = (event: { error?: unknown }): void => {
            failure = event.error;
            context.emit(event);
          };
          await original({ ...context, emit }, ...rest);
          if (failure !== undefined) {
            throw failure;
          }
        },
    },
  },
  'spec',
);
