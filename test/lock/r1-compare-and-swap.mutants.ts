import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('R1', {
  'no resourceVersion in the PUT': {
    release: (original) => (lease) => {
      const freed = original(lease);
      const metadata = { ...freed.metadata, resourceVersion: undefined };
      return { ...freed, metadata };
    },
  },
  'uid not sent': {
    renew:
      (original) =>
      (lease, ...rest) => {
        const renewed = original(lease, ...rest);
        const metadata = { ...renewed.metadata, uid: undefined };
        return { ...renewed, metadata };
      },
  },
  'conflict answered by writing over what is there': {
    'LocalLease#replace': (original) =>
      async function (make, options) {
        try {
          return await original.call(this, make, options);
        } catch (error) {
          const { metadata } = (await this.read(options)) ?? {};
          if (metadata === undefined) {
            throw error;
          }
          const { uid, resourceVersion } = metadata;
          const overwrite = () => {
            const made = make();
            const version = { uid, resourceVersion };
            return { ...made, metadata: { ...made.metadata, ...version } };
          };
          return original.call(this, overwrite, options);
        }
      },
  },
});
