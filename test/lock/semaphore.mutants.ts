import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'semaphores',
  {
    'a slot more than there are permits': {
      slotsOf: (original) => (lock, permits) => original(lock, permits + 1),
    },
    'two slots in one Lease': {
      slotLeaseName: (original) => (leaseName, slot) =>
        original(leaseName, Math.floor(slot / 2)),
    },
    'slot 0 apart from the lock of that name': {
      slotLeaseName: (original) => (leaseName, slot) =>
        original(leaseName, slot + 1),
    },
    'a search for slots without the line': {
      'SlotSearch#waitInLine': () =>
        function () {
          return this.takeFirst();
        },
    },
    'a slot taken again before the next in line can have it': {
      'SlotSearch#isIdle': () =>
        function ({ local }) {
          return local.observed.judge().takeable;
        },
    },
    'a free slot taken past the calls in line': {
      'SlotSearch#isLineInUse': () => () => false,
    },
    'slots that no waiting call watches': {
      'SlotSearch#watchSlots': () => () => undefined,
    },
    'a line with the lease of a lock': {
      lineOptions: (original) => (options, waitTimeout) => ({
        ...original(options, waitTimeout),
        leaseDuration: options.leaseDuration,
      }),
    },
    'a watch that is trusted': {
      'SlotSearch#pollInterval': () => () => Infinity,
    },
    'a skip for holders that may be dead': {
      'SlotSearch#lookForDead': () =>
        function () {
          const { mode } = this.call;
          const reason = mode === 'wait' ? 'timeout' : 'held';
          return Promise.reject(this.notAcquired(reason));
        },
    },
    'a failure that ends the wait although it may pass': {
      'SlotSearch#attemptAgain': () =>
        function (slot, signal) {
          return this.attempt(slot, 'try', signal);
        },
    },
    'a wait that ends when the process can renew no more locks': {
      isSaturated: () => () => false,
    },
    'a permit that is not shared with the work under it': {
      isOf: () => () => false,
    },
    'a permit shared with the lock of the same name': {
      isOf:
        (original) =>
        ({ namespace, leaseName, slot }, lock) =>
          original({ namespace, leaseName, slot }, lock, 100),
    },
    'a number of permits that others can not see': {
      withPermits: () => (annotations) => annotations,
    },
    'the line shown as a lock': {
      isLine: () => () => false,
    },
  },
  'spec',
);
