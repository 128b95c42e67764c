import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('R3', {
  'acquireTime left standing by renewals': {
    renew:
      (original) =>
      (lease, ...rest) => {
        const renewed = original(lease, ...rest);
        const { acquireTime } = lease.spec;
        return { ...renewed, spec: { ...renewed.spec, acquireTime } };
      },
  },
});
