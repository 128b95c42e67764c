import { mutantsOf, type AnyFunction } from '../mutants/mutant.js';

export const mutants = [
  ...mutantsOf(
    'A11',
    {
      'permits that grow with those of another process': {
        'LockEngine#acquireSlot': (original) =>
          function (context, call) {
            const { lock } = call;
            const others =
              this.localOf(lock).observed.lease?.metadata.annotations?.[
                'nestjs-k8s-lock/permits'
              ];
            const permits = call.options.permits + Number(others ?? 0);
            const options = { ...call.options, permits };
            return original.call(this, context, { ...call, options });
          },
      },
      'a slot more in a process that has fewer permits than others': {
        slotsOf: (original) => (lock, permits) =>
          original(lock, permits === 2 ? 5 : permits),
      },
    },
    'simulator of semaphores',
  ),
  ...mutantsOf(
    'A12',
    {
      'a second slot taken by a call': {
        'SlotSearch#firstOf': () =>
          async function (slots, acquire) {
            let found;
            for (const slot of slots) {
              // oxlint-disable-next-line no-await-in-loop -- one slot after the other
              found = (await acquire(slot)) ?? found;
            }
            return found;
          },
      },
      'a slot that is taken again by the wait in line': {
        'SlotSearch#takeIdle': (original) =>
          async function (end) {
            await original.call(this, end);
            return undefined;
          },
      },
      'a line that is kept by the call which has got its slot': {
        'SlotSearch#waitInLine': (original) =>
          function (end) {
            const { engine } = this;
            const acquire: AnyFunction = async (context, call) => {
              const held = await engine.acquire(context, call);
              return call.lock.leaseName.endsWith('--line')
                ? { release: () => undefined }
                : held;
            };
            this.engine = { localOf: engine.localOf, acquire };
            return original.call(this, end);
          },
      },
      'a released slot that nobody in line sees': {
        'SlotSearch#findReady': () => () => undefined,
        'SlotSearch#pollInterval': () => () => Infinity,
      },
    },
    'simulator of semaphores',
  ),
  ...mutantsOf(
    'A14',
    {
      'a wait that ends only with the request for a slot': {
        'SlotSearch#takeIdle': (original) =>
          function () {
            const { signal } = this.call;
            return original.call(this, signal ?? new AbortController().signal);
          },
      },
    },
    'simulator of semaphores',
  ),
  ...mutantsOf(
    'A11',
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
    },
    'spec',
  ),
  ...mutantsOf(
    'A12',
    {
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
        lineOptions: (original) => (options) => ({
          ...original(options),
          leaseDuration: options.leaseDuration,
        }),
      },
      'a watch that is trusted': {
        'SlotSearch#pollInterval': () => () => Infinity,
      },
    },
    'spec',
  ),
  ...mutantsOf(
    'A13',
    {
      'a differing number of permits that nobody reports': {
        'LockEngine#comparePermits': () => () => () => undefined,
      },
      'a number of permits that others can not see': {
        withPermits: () => (annotations) => annotations,
      },
    },
    'spec',
  ),
  ...mutantsOf(
    'A14',
    {
      'a wait for a permit that lasts beyond its waitTimeout': {
        'SlotSearch#wait': (original) =>
          function () {
            const { call } = this;
            const options = { ...call.options, waitTimeout: undefined };
            this.call = { ...call, options };
            return original.call(this);
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
    },
    'spec',
  ),
  ...mutantsOf(
    'A21',
    {
      'a permit that is not shared with the work under it': {
        isOf: () => () => false,
      },
      'a permit shared with the lock of the same name': {
        isOf:
          (original) =>
          ({ namespace, leaseName, slot }, lock) =>
            original({ namespace, leaseName, slot }, lock, 100),
      },
    },
    'spec',
  ),
  ...mutantsOf(
    'A24',
    {
      'a skip for holders that may be dead': {
        'SlotSearch#lookForDead': () =>
          function () {
            const { mode } = this.call;
            const reason = mode === 'wait' ? 'timeout' : 'held';
            return Promise.reject(this.notAcquired(reason));
          },
      },
    },
    'spec',
  ),
  ...mutantsOf(
    'what is shown of a semaphore',
    {
      'the line shown as a lock': {
        isLine: () => () => false,
      },
    },
    'spec',
  ),
];
