import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'watches of many Leases are one',
  {
    'each Lease watched by itself, however many they are': {
      'NamespaceWatches#followWhole': () => () => {},
    },
    'a refused watch of the namespace tried again for each name': {
      'NamespaceWatches#wholeFailed': (original) =>
        function (error) {
          original.call(this, error);
          this.isRefused = false;
        },
    },
    'the refusal of the watch of the namespace reported': {
      'NamespaceWatches#wholeFailed': (original) =>
        function (error) {
          for (const lease of this.all()) {
            lease.fail(error);
          }
          original.call(this, error);
        },
    },
    'a single watch closed before its Lease was listed': {
      'NamespaceWatches#wholeOpened': (original) =>
        function (listed) {
          for (const lease of this.all()) {
            lease.single?.close();
            lease.single = undefined;
          }
          original.call(this, listed);
        },
    },
    'Leases not listed again after a gap': {
      'NamespaceWatches#wholeOpened': (original) =>
        function (listed) {
          const isFirst = !this.isWholeOpen;
          original.call(this, listed && isFirst);
        },
    },
    'a list trusted that was sent before the watch of the namespace began': {
      'NamespaceWatches#wholeOpened': (original) =>
        function (listed) {
          const { endReading } = this;
          this.endReading = () => {};
          original.call(this, listed);
          this.endReading = endReading;
        },
    },
    'a list reported that changes have overtaken': {
      'WatchedLease#see': (original) =>
        function (state) {
          original.call(this, state);
        },
    },
    'a change reported that is known': {
      'WatchedLease#change': (original) =>
        function (...change) {
          this.version &&= '0';
          original.apply(this, change);
        },
    },
    'a change of unknown age reported as new': {
      'WatchedLease#change': (original) =>
        function (...change) {
          this.version ??= '0';
          original.apply(this, change);
        },
    },
    'single watches again as soon as few names are left': {
      'NamespaceWatches#remove': (original) =>
        function (lease) {
          original.call(this, lease);
          if (this.whole && this.count <= 8) {
            this.followEach();
          }
        },
    },
    'a Lease that is not listed yet followed from where the watch of the namespace was':
      {
        'NamespaceWatches#followEach': (original) =>
          function () {
            for (const lease of this.all()) {
              this.endReading(lease);
            }
            original.call(this);
          },
      },
    'Leases listed again for their single watches': {
      'NamespaceWatches#follow': (original) =>
        function (lease) {
          original.call(this, lease);
        },
    },
    'all Leases listed at once': {
      'NamespaceWatches#readNext': () =>
        function () {
          for (const lease of this.unread) {
            this.unread.delete(lease);
            this.read(lease);
          }
        },
    },
    'the next Lease not listed when one is closed': {
      'NamespaceWatches#remove': (original) =>
        function (lease) {
          const { readNext } = this;
          this.readNext = () => {};
          original.call(this, lease);
          this.readNext = readNext;
        },
    },
    'a broken Lease of others stops the watch of the namespace': {
      'NamespaceWatches#dispatch': (original) =>
        function (type, object) {
          if (object.metadata.resourceVersion === undefined) {
            throw new Error('not a Lease');
          }
          original.call(this, type, object);
        },
    },
    'what a selection does not tell any more taken for deleted': {
      'WatchedLease#gone': () =>
        function () {
          this.observer.deleted();
        },
    },
    'Leases kept that nobody watches': {
      'NamespaceWatches#dispatch': (original) =>
        function (type, object) {
          (this.kept ??= []).push(object);
          original.call(this, type, object);
        },
    },
    'an observer told without end that opens a watch when it is told': {
      'NamespaceWatches#all': () =>
        function* () {
          for (const leases of this.leases.values()) {
            yield* leases;
          }
        },
    },
  },
  'spec',
);
