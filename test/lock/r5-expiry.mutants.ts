import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf('R5', {
  'remote clock compared with the local wall clock': {
    'ObservedLease#judge': (original) =>
      function (self) {
        const verdict = original.call(this, self);
        const { renewTime, leaseDurationSeconds } = this.lease?.spec ?? {};
        const end = Date.parse(renewTime) + leaseDurationSeconds * 1_000;
        const isOver = this.clock.wallMicroseconds() / 1_000 >= end;
        return verdict.expiresAt !== undefined && isOver
          ? { takeable: true, expired: true, aliveAt: verdict.aliveAt }
          : verdict;
      },
  },
  'metadata change restarts the count': {
    fingerprint: (original) => (lease) =>
      original(lease) + JSON.stringify(lease.metadata.annotations),
  },
  'renewals do not restart the count': {
    fingerprint: () => (lease) => lease.spec?.holderIdentity ?? '',
  },
});
