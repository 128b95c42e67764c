import { mutantsOf, type Wrapper } from '../mutants/mutant.js';

const CLAIM = 'nestjs-k8s-lock/fire';

const unclaimed: Wrapper =
  (original) =>
  (lease, newHolder, ...rest) =>
    original(lease, { ...newHolder, claimed: undefined }, ...rest);

function claimOf(lease: AnyLease): string | undefined {
  return lease.metadata.annotations?.[CLAIM];
}

/** The record with another claim, if it has one. */
function withClaim(
  lease: AnyLease,
  change: (claim: string) => string | undefined,
): AnyLease {
  const { [CLAIM]: claim, ...others } = lease.metadata.annotations ?? {};
  const changed = claim && change(claim);
  const annotations = { ...others, ...(changed && { [CLAIM]: changed }) };
  return { ...lease, metadata: { ...lease.metadata, annotations } };
}

/** The record as if its work, which is done, had only begun. */
function notDone(lease: AnyLease): AnyLease {
  return withClaim(lease, (claim) => claim.replace(' done ', ' begun '));
}

interface AnyLease {
  readonly metadata: {
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: { readonly holderIdentity?: string | null };
}

export const mutants = [
  ...mutantsOf('A25', {
    'claim not written by the acquiring write': {
      take: unclaimed,
      createTaken: unclaimed,
    },
    'the same fire taken for a later one': {
      judgeClaim:
        (original) =>
        (claim, ...rest) =>
          original({ ...claim, at: claim.at + 1 }, ...rest),
    },
    'an earlier fire run after a later one': {
      judgeClaim:
        (original) =>
        (claim, ...rest) =>
          original({ ...claim, latest: claim.at }, ...rest),
    },
    'claim lost by a release': {
      release: (original) => (lease) =>
        withClaim(original(lease), () => undefined),
    },
    'claim of a broken clock believed': {
      judgeClaim:
        (original) =>
        (claim, ...rest) =>
          original({ ...claim, latest: Infinity }, ...rest),
    },
  }),
  ...mutantsOf('A26', {
    'claim taken for begun by others': {
      judgeClaim:
        (original) =>
        (claim, ...rest) => {
          const verdict = original(claim, ...rest);
          const begun = claim.retry ? 'running' : 'taken';
          return verdict.state === 'claimed'
            ? { ...verdict, state: begun }
            : verdict;
        },
    },
    'work begun without a word in the record': {
      beginClaim: () => (lease) => lease,
    },
    'work that may have begun open to others again': {
      endClaim: (original) => (lease, end) =>
        original(lease, end === 'begun' ? 'open' : end),
    },
    'beginning whose answer was lost taken for that of another': {
      judgeClaim:
        (original) =>
        (claim, ...rest) =>
          original({ ...claim, ownIdentities: new Set() }, ...rest),
    },
    'beginning whose answer was lost given up with its lock': {
      mayBeHadAgain: () => () => false,
    },
    'beginning whose answer was lost given up with the wait for its lock': {
      acquireAndBegin: (original) => (place, claim, acquire) =>
        original(place, claim, () => acquire({ waitTimeout: undefined })),
    },
    'beginning cut short by a shutdown': {
      'LeaseHolder#giveUp': (original) =>
        function () {
          this.beginning = undefined;
          return original.call(this);
        },
    },
  }),
  ...mutantsOf(
    'A26',
    {
      'beginning whose answer was lost given up by a shutdown': {
        'LeaseHolder#leaveToOthers': () =>
          function () {
            this.abort.signal.throwIfAborted();
          },
      },
    },
    'spec',
  ),
  ...mutantsOf(
    'A25',
    {
      'claim not compared again by the write': {
        'Acquirer#write': (original) =>
          async function () {
            const { policy } = this.call;
            policy.refuseClaimed = () => undefined;
            return original.call(this).finally(() => {
              delete policy.refuseClaimed;
            });
          },
      },
    },
    'spec',
  ),
  ...mutantsOf('A27', {
    'claim of another holder ended': {
      changeClaim:
        (original) =>
        (lease, ...rest) => {
          const [, , , by] = claimOf(lease)?.split(' ') ?? [];
          const spec = { ...lease.spec, holderIdentity: by };
          const changed = original({ ...lease, spec }, ...rest);
          return { ...changed, spec: lease.spec };
        },
    },
    'claim of a withdrawn write left standing': {
      endClaim: (original) => (lease, end) =>
        end === 'open' ? lease : original(lease, end),
    },
    'work that was cut short recorded as done': {
      'LeaseHolder#endClaimAs': (original) =>
        function (end) {
          original.call(this, end === 'begun' ? 'done' : end);
        },
    },
    'work that a shutdown has given up recorded as done': {
      'LeaseHolder#giveUp': (original) =>
        function () {
          const { endClaimAs } = this;
          this.endClaimAs = (end: string) =>
            endClaimAs.call(this, end === 'begun' ? 'done' : end);
          return original.call(this);
        },
    },
    'work that is done not recorded with minHold': {
      retain:
        (original) =>
        (lease, ...rest) =>
          original(notDone(lease), ...rest),
    },
    'work that is done not recorded by a handover': {
      take:
        (original) =>
        (lease, ...rest) =>
          original(
            lease.spec?.holderIdentity ? notDone(lease) : lease,
            ...rest,
          ),
    },
  }),
  ...mutantsOf('A29', {
    'work of the dead never taken over': {
      judgeClaim:
        (original) =>
        (claim, ...rest) =>
          original({ ...claim, retry: false }, ...rest),
    },
    'running work not followed': {
      'WaitPolicy#refuseClaimed': (original) =>
        function () {
          const { isFollowing } = this;
          original.call(this);
          if (this.claimVerdict?.state === 'running') {
            this.isFollowing = isFollowing;
          }
        },
    },
    'running work of a live holder taken for free': {
      judgeClaim:
        (original) =>
        (...call) => {
          const verdict = original(...call);
          return verdict.state === 'running' ? { state: 'free' } : verdict;
        },
    },
  }),
  ...mutantsOf(
    'A28',
    {
      'a watch that is trusted though it has told nothing': {
        'LocalLease#isTold': () => () => true,
      },
    },
    'spec',
  ),
];
