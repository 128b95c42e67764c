import { mutantsOf, type Wrapper } from '../mutants/mutant.js';

/** Puts off a call of an engine until {@link catchUp}. */
const deferred: Wrapper = (original) =>
  function () {
    this.context.deferred ??= [];
    this.context.deferred.push(() => original.call(this));
  };

/** Makes the calls that were put off, when the rest of the application has closed. */
const catchUp: Wrapper = (original) =>
  function () {
    this.context.deferred?.forEach((call: () => void) => call());
    return original.call(this);
  };

export const mutants = [
  ...mutantsOf('A22', {
    'shutdown does not wait for releases in flight': {
      'LockEngine#allWritten': () => async () => undefined,
    },
  }),
  ...mutantsOf('A23', {
    'lock handed out in the very turn of the shutdown': {
      'LockEngine#mayHandOut': () => () => true,
    },
    'waits not ended before the rest has closed': {
      'AcquireCall#close': deferred,
      'LockEngine#close': catchUp,
    },
  }),
  ...mutantsOf('A23', {
    'work not asked to stop before the rest has closed': {
      'LeaseHolder#askToStop': deferred,
      'LockEngine#close': catchUp,
    },
  }),
];
