import { mutantsOf, type AnyFunction } from '../mutants/mutant.js';

/** A session that has expired counts as ended, though nothing keeps its process from renewing it. */
const takesFromExpired = (original: AnyFunction): AnyFunction =>
  function () {
    const verdict = original.call(this);
    return this.hasExpired && !verdict.hasEnded
      ? { hasEnded: true, aliveAt: verdict.aliveAt, since: 0 }
      : verdict;
  };

export const mutants = [
  ...mutantsOf('R12', {
    'lock taken from a session that was not ended': {
      'ObservedSession#judge': takesFromExpired,
    },
    'session ended without comparing it with the expired record': {
      'ObservedSession#end': (original) =>
        async function () {
          await this.read();
          if (this.isPresent) {
            await original.call(this);
          }
        },
    },
    'absent session counts as ended at once': {
      'ObservedSession#noteEnd': (original) =>
        function () {
          original.call(this);
          this.endedAt ??= this.absentSince;
        },
    },
    'locks outlive their session': {
      'OwnSession#isHeld': () => () => true,
      'OwnSession#onLoss': () => () => () => undefined,
      'LeaseHolder#deadline': (original) =>
        function () {
          return this.session ? Infinity : original.call(this);
        },
    },
  }),
  ...mutantsOf(
    'R12',
    {
      'lock taken from a session that was not ended, in the spec': {
        'ObservedSession#judge': takesFromExpired,
      },
      'lock held whose session was lost before the answer': {
        'Acquirer#refuseLate': () => () => undefined,
      },
      'session of an earlier holder heeded': {
        sessionOf: (original) => (lease) => {
          const [, by = ''] =
            /by (.*)$/.exec(
              lease.metadata.annotations?.['nestjs-k8s-lock/session'] ?? '',
            ) ?? [];
          const spec = { ...lease.spec, holderIdentity: by };
          return original({ ...lease, spec });
        },
      },
      'session without a holder gets one': {
        'Acquirer#refuseEnded': () => () => undefined,
      },
      'holder under a session never looks at its locks': {
        'OwnSession#lookLater': () => () => undefined,
      },
      'holder is not told that a release was forced': {
        'Sessions#tellHolder': () => () => Promise.resolve(),
      },
      'late creation under a session stays': {
        'FailedWrites#undoLater': () => () => undefined,
      },
      'restored session goes on': {
        'LeaseHolder#loseRestored': () => () => undefined,
      },
      'Lease written that is no session': {
        'ObservedSession#hasExpired': () =>
          function () {
            const verdict = this.local.observed.judge();
            return this.isPresent && verdict.takeable && verdict.expired;
          },
      },
    },
    'spec',
  ),
];
