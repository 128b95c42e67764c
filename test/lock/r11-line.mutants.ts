import type { LocalLease } from '../../lib/lock/lease/local-lease.js';
import { mutantsOf, type Wrapper } from '../mutants/mutant.js';

/** Takes a lock with a line by content, whatever the write removes, if its record names such a holder. */
const takenByContent =
  (isFor: (holder: string | undefined) => boolean): Wrapper =>
  (original) =>
    function (newHolder, options) {
      const { local } = this;
      const byContent = Object.create(local, {
        replace: {
          value: (...[make, how]: Parameters<LocalLease['replace']>) => {
            const { lease } = local.observed;
            return local.hasOthersInLine && isFor(lease.spec?.holderIdentity)
              ? local.change(lease, make, how)
              : local.replace(make, how);
          },
        },
      });
      const writer = Object.create(this, { local: { value: byContent } });
      return original.call(writer, newHolder, options);
    };

const ofForeignHolder = mutantsOf(
  'A37',
  {
    'place in line under a holder that does not know the line': {
      isForeign: () => () => false,
    },
    'older version taken for one that knows the line': {
      keptGrant: () => () => false,
    },
  },
  'spec',
);

const ofContent = mutantsOf(
  'A36',
  {
    'free lock that is taken by content without a ticket': {
      'LeaseWriter#acquire': takenByContent((holder) => holder === undefined),
    },
    'expired lock that is taken by content without a ticket': {
      'LeaseWriter#acquire': takenByContent((holder) => holder !== undefined),
    },
  },
  'spec',
);

const ofLine = mutantsOf(
  'R11',
  {
    'lock taken from before those in line': {
      'WaitingInLine#turnAt': () => () => -Infinity,
    },
    'tickets ordered as text': {
      isBefore: () => (a, b) => String(a.number) < String(b.number),
    },
    'place in a line that is crowded': {
      hasRoomIn: () => () => true,
    },
    'place kept in a crowded line by one who has had the lock': {
      'PlaceInLine#findRoomToStay': () => () => true,
    },
    'process outside that stays modest': {
      'PlaceInLine#findRoom': (original) =>
        function (lease) {
          this.outside &&= { ...this.outside, tries: 0 };
          return original.call(this, lease);
        },
    },
    'process outside whose place counts from when there is room': {
      'PlaceInLine#findRoom': (original) =>
        function (lease) {
          this.kept = undefined;
          return original.call(this, lease);
        },
    },
    'Lease watched from outside the line': {
      'WaitingInLine#isOutside': () => () => false,
    },
    'enrolments of a crowd repeated by the API server': {
      'LocalLease#enrol': (original) =>
        function (ticket, options) {
          return original.call(this, ticket, options);
        },
    },
    'enrolment that fails as often as it is overtaken': {
      'WaitingInLine#enrol': (original) =>
        function (options) {
          return original.call(this, options, true);
        },
    },
    'small line taken for a crowd': {
      'WaitingInLine#isLong': () => () => true,
    },
    'place withdrawn when the next caller could use it': {
      'Acquirer#abandon': (original) =>
        function () {
          this.writer.leaveLine();
          original.call(this);
        },
    },
    'ticket with a number that was seen long ago': {
      'Acquirer#enrol': (original) =>
        function () {
          this.local.observed.lastLook = Infinity;
          return original.call(this);
        },
    },
    'process without the right to patch not let on by PUT': {
      'LeaseWriter#change': (original) =>
        function (operation, found, make, options) {
          return this.local.place.isPermitted &&
            JSON.stringify(found.metadata.annotations).includes('line.')
            ? this.local.change(found, make, options)
            : original.call(this, operation, found, make, options);
        },
    },
    'right to patch given up until the process restarts': {
      'PlaceInLine#isPermitted': () =>
        function () {
          return this.refusedUntil === -Infinity;
        },
    },
    'right to patch asked for with each attempt': {
      'PlaceInLine#isPermitted': (original) =>
        function () {
          // Right after the refusal it counts.
          return (
            original.call(this) || this.refusedUntil - this.clock.now() < 60_000
          );
        },
    },
    'withdrawal that is told by nothing but its watch': {
      'LocalLease#isTold': () => () => true,
    },
    'withdrawal that looks once, before the enrolment is applied': {
      'LeaseWriter#withdraw': (original) =>
        function (ticket) {
          let looks = 0;
          const read: LocalLease['read'] = (options) => {
            looks += 1;
            return looks === 1
              ? this.local.read(options)
              : Promise.resolve(this.local.observed.lease ?? null);
          };
          const local = Object.create(this.local, { read: { value: read } });
          const blind = Object.create(this, { local: { value: local } });
          return original.call(blind, ticket);
        },
    },
    'withdrawal that ends when its watch tells of a deletion': {
      'LeaseWriter#withdraw': (original) =>
        function (ticket) {
          let looks = 0;
          const read: LocalLease['read'] = (options) => {
            looks += 1;
            const { lease } = this.local.observed;
            return looks > 1 && lease === null
              ? Promise.resolve(lease)
              : this.local.read(options);
          };
          const local = Object.create(this.local, { read: { value: read } });
          const credulous = Object.create(this, { local: { value: local } });
          return original.call(credulous, ticket);
        },
    },
    'ticket left behind when a watch tells of a deletion': {
      'PlaceInLine#wasRemoved': (original) =>
        function (lease) {
          const ticket = original.call(this, lease);
          return ticket?.hasLanded ? undefined : ticket;
        },
    },
    'shutdown that waits for a place which it can not withdraw': {
      'LeaseWriter#withdraw': (original) =>
        function (ticket) {
          const closing = new AbortController().signal;
          const unaware = Object.create(this, {
            context: { value: { ...this.context, closing } },
          });
          return original.call(unaware, ticket);
        },
    },
  },
  'spec',
);

const ofCourtesy = mutantsOf(
  'A10',
  {
    'nothing left to clients that do not know the line': {
      'Courtesy#isDue': () => () => false,
    },
    'lock that was left free for others taken at once': {
      isLeftFree: () => () => false,
    },
  },
  'spec',
);

const ofMissingRight = mutantsOf('R11', {
  'record in use that is written by PATCH alone': {
    'LeaseWriter#change': (original) =>
      function (operation, found, make, options) {
        const { local } = this;
        const replace = {
          value: () => local.change(found, make, options),
        };
        return original.call(
          JSON.stringify(found.metadata.annotations).includes('line.')
            ? Object.create(this, {
                local: { value: Object.create(local, { replace }) },
              })
            : this,
          operation,
          found,
          make,
          options,
        );
      },
  },
  'missing right to patch that nobody is told of': {
    reportFailure: (original) => (context, lock, operation, error) =>
      error.reason === 'forbidden'
        ? undefined
        : original(context, lock, operation, error),
  },
});

const ofCrowd = mutantsOf(
  'R11',
  {
    'process that comes to a crowded line and does not wait outside': {
      'PlaceInLine#findRoom': (original) =>
        function (lease) {
          return this.outside === undefined || original.call(this, lease);
        },
    },
  },
  'simulator of lines',
);

export const mutants = [
  ...ofForeignHolder,
  ...ofContent,
  ...ofLine,
  ...ofCourtesy,
  ...ofMissingRight,
  ...ofCrowd,
];
