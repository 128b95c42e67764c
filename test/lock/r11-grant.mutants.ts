import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf('A35', {
    'grantee that believes to have the whole lease': {
      'WaitingInLine#startGranted': (original) =>
        function () {
          const granted = original.call(this);
          const grantDuration = this.call.options.leaseDuration;
          return granted && { ...granted, grantDuration };
        },
    },
  }),
  ...mutantsOf('A36', {
    'change by content that does not compare the spec': {
      patchOf:
        (original) =>
        (...records) =>
          original(...records).filter(
            ({ path }: { path: string }) => path !== '/spec',
          ),
    },
  }),
  ...mutantsOf('A35', {
    'confirmed grant that still lapses': {
      renew:
        (original) =>
        (lease, ...rest) => {
          const renewed = original(lease, ...rest);
          const { annotations } = lease.metadata;
          return {
            ...renewed,
            metadata: { ...renewed.metadata, annotations },
          };
        },
    },
  }),
  ...mutantsOf('R11', {
    'grant that nobody wants any more not passed on': {
      'LeaseWriter#withdraw': () => async () => undefined,
    },
  }),
  ...mutantsOf(
    'A35',
    {
      'deadline of a grantee that k8slock does not wait for': {
        expiryByWallClock: () => () => Infinity,
      },
      'deadline of a grantee counted from when it saw the grant': {
        'WaitingInLine#startGranted': (original) =>
          function () {
            const granted = original.call(this);
            return granted && { ...granted, sentAt: this.context.clock.now() };
          },
      },
      'grantee that renews at once after a wait': {
        timingOf: (original) => (duration, timing) =>
          original(duration, timing),
      },
      'grantee of a short lease that renews at once after a wait': {
        timingOf: (original) => (duration, timing, passed) =>
          original(
            duration,
            timing,
            duration === timing.leaseDuration ? 0 : passed,
          ),
      },
      'renewal of a grant with no time left for it': {
        timingOf:
          (original) =>
          (duration, timing, passed = 0) => {
            const granted = original(duration, timing, passed);
            const least = { ...timing, renewInterval: 1 };
            const part =
              original(duration, least, passed).renewInterval - passed;
            const renewInterval = passed + part * timing.renewInterval;
            return { ...granted, renewInterval };
          },
      },
      'grant that tells what was left of it': {
        'LeaseHolder#margin': (original) =>
          function () {
            const { timing } = this;
            const { leaseDuration } = this.options;
            return timing.leaseDuration === leaseDuration
              ? original.call(
                  Object.create(this, { options: { value: timing } }),
                )
              : original.call(this);
          },
      },
      'work started with too little time left of its grant': {
        leastTimeLeft: () => () => -Infinity,
      },
      'fire begun under a grant without its claim': {
        'Acquirer#mustConfirm': (original) =>
          function () {
            const claim = { value: undefined };
            const call = { value: Object.create(this.call, { claim }) };
            return original.call(Object.create(this, { call }));
          },
      },
      'duration of a grant ignored by those who wait': {
        grantOf: () => () => undefined,
      },
    },
    'spec',
  ),
  ...mutantsOf(
    'R11',
    {
      'identity of a removed ticket used again': {
        'LeaseWriter#newTicket': (original) =>
          function (...args) {
            const { kept } = this.local.place;
            const ticket = original.apply(this, args);
            return {
              ...ticket,
              ...(kept?.identity && { identity: kept.identity }),
            };
          },
      },
      'number of a removed ticket lost': {
        'PlaceInLine#numberIn': () => (lease) =>
          BigInt(lease.metadata.resourceVersion),
      },
      'dead processes left in line after a grant has lapsed': {
        ticketsToDrop: (original) => (lease, identity) =>
          original(lease, identity, false),
      },
      'late write by content taken for overtaken when others have enrolled': {
        comparedContent: (original) => (lease) =>
          lease ? original(lease) + lease.metadata.resourceVersion : undefined,
      },
      'place kept for a caller that does not come': {
        'PlaceInLine#awaitCaller': () => () => undefined,
      },
      'release without the next place of its process': {
        'LeaseWriter#keepPlace': () => () => undefined,
      },
      'end of a grant slept through': {
        'WaitingInLine#concerns': (original) =>
          function (lease) {
            return original.call(this, lease, -Infinity);
          },
      },
    },
    'spec',
  ),
];
