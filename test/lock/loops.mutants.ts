import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf(
    'A6',
    {
      'write whose answer shows another record counted': {
        isStoredAs: () => () => true,
      },
    },
    'spec',
  ),
  ...mutantsOf(
    'A7',
    {
      'write that is tried again without end': {
        retryWrite:
          (original) =>
          (clock, signal, attempt, delayAfter, ...rest) =>
            original(
              clock,
              signal,
              attempt,
              (...failure: unknown[]) => delayAfter(...failure) ?? 1_000,
              ...rest,
            ),
      },
      'acquisition that is tried again without end': {
        'Acquirer#recover': (original) =>
          async function (error) {
            const { call } = this;
            const policy = Object.create(call.policy, {
              waits: { value: true },
            });
            this.call = Object.create(call, { policy: { value: policy } });
            await original.call(this, error);
            this.call = call;
          },
      },
      'retry without a pause': {
        backoff: () => () => 0,
      },
      'retry that nobody is told of': {
        reportFailure: () => () => undefined,
      },
    },
    'spec',
  ),
];
