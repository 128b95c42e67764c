import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'A3',
  {
    'failure of a release in the place of what the method came to': {
      'LeaseWriter#release': (original) =>
        async function (ending) {
          const { context } = this;
          let failure: unknown;
          const emit = (event: { error?: unknown }): void => {
            failure = event.error;
            context.emit(event);
          };
          this.context = { ...context, emit };
          await original.call(this, ending);
          if (failure !== undefined) {
            throw failure;
          }
        },
    },
  },
  'spec',
);
