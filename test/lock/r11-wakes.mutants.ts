import { mutantsOf } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf(
    'A38',
    {
      'record for one process that stays so when the lock is released': {
        withWakes: (original) => (lease) => {
          const { labels } = lease.metadata;
          const made = original(lease);
          return made.metadata.labels?.['nestjs-k8s-lock/wakes'] === 'all'
            ? { ...made, metadata: { ...made.metadata, labels } }
            : made;
        },
      },
    },
    'simulator of lines',
  ),
  ...mutantsOf(
    'A38',
    {
      'grant for one process although few are in line': {
        withWakes: (original) => (lease) => {
          const { annotations } = lease.metadata;
          const many = Object.fromEntries(
            [1, 2, 3].map((n) => [`line.nestjs-k8s-lock/${n}`, `1 1 a_${n}`]),
          );
          const metadata = {
            ...lease.metadata,
            annotations: { ...annotations, ...many },
          };
          const made = original({ ...lease, metadata });
          return { ...made, metadata: { ...made.metadata, annotations } };
        },
      },
      'grant for one process of a version that does not know it': {
        tagOf: (original) => (identity) => original(identity) ?? '00000000',
      },
      'label of an earlier holder believed': {
        hasWakes:
          () =>
          ({ metadata }) =>
            metadata.labels?.['nestjs-k8s-lock/wakes'] !== undefined,
      },
      'record for another process taken for current': {
        isFor: () => () => true,
      },
      'lock taken that has expired out of sight, without a look': {
        'LocalLease#isWatched': () =>
          function () {
            return this.watch !== undefined;
          },
      },
      'record that is not told any more taken for a deleted one': {
        'LocalLease#loseSight': () =>
          function () {
            this.seeAbsent();
          },
      },
      'looks as rare as of those who are told': {
        'WaitingInLine#intervalsOfPoll': (original) =>
          function () {
            const local = Object.create(this.local, {
              isWatched: { value: true },
            });
            return original.call(
              Object.create(this, { local: { value: local } }),
            );
          },
      },
      'lock held on although its record may be gone': {
        'LeaseHolder#sightLost': () => () => undefined,
      },
      'watch of others limited': {
        'LocalLease#keepWatched': (original) =>
          function () {
            return original.call(this, true);
          },
      },
      'watch opened anew for each lock': {
        'LocalLease#keepWatched': (original) =>
          function () {
            return original.call(this, false);
          },
      },
    },
    'spec',
  ),
];
