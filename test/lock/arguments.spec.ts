/** Arguments of LockService that no compiler has checked are refused with a clear message, before anything is acquired. */
import { from, type Observable } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { LockConfigurationError, LockService } from '../../lib/index.js';
import { useApi } from './lock-services.js';

const api = useApi();
beforeEach(() => api.server.requests.clear());

/** As a caller without types does. */
async function call(
  locks: LockService,
  method: string,
  ...args: readonly unknown[]
): Promise<unknown> {
  return Reflect.apply(Reflect.get(locks, method), locks, args);
}

async function faultsOf(work: Promise<unknown>): Promise<readonly string[]> {
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(LockConfigurationError);
  return error instanceof LockConfigurationError ? error.faults : [];
}

/** As TypeScript and Babel make one where the target has no generators: without a tag. */
const oldGenerator = (): object => ({
  next: () => ({ done: true, value: undefined }),
  return: () => ({ done: true, value: undefined }),
  throw: () => ({ done: true, value: undefined }),
  [Symbol.asyncIterator]() {
    return this;
  },
});

const nothing = async (): Promise<void> => undefined;

describe('options', () => {
  it.each(['acquire', 'tryAcquire', 'inspect', 'forceRelease'])(
    'that are no object: %s()',
    async (method) => {
      const locks = await api.service();
      const cases: [options: unknown, shown: string][] = [
        [null, 'null'],
        [5, '5'],
        ['x', '"x"'],
        [[], 'an array'],
        [Promise.resolve({}), 'a Promise: await it'],
      ];
      for (const [options, shown] of cases) {
        // oxlint-disable-next-line no-await-in-loop -- one case after the other
        expect(await faultsOf(call(locks, method, 'job', options))).toEqual([
          `lock "job": the options of ${method}() must be an object with options, not ${shown}`,
        ]);
      }
      expect(api.server.requests.count()).toBe(0);
    },
  );

  it('that are no object: list() and withLock()', async () => {
    const locks = await api.service();
    expect(await faultsOf(call(locks, 'list', null))).toEqual([
      'the options of list() must be an object with options, not null',
    ]);
    expect(
      await faultsOf(call(locks, 'withLock', 'job', null, nothing)),
    ).toEqual([
      'lock "job": the options of withLock() must be an object with options, not null',
    ]);
  });

  it('that are left out by undefined are none', async () => {
    const locks = await api.service();
    await call(locks, 'withLock', 'job', undefined, nothing);
    expect(api.server.requests.count({ verb: 'create' })).toBe(1);
  });
});

it.each<[place: string, method: string, args: unknown[]]>([
  ['lock "job": ', 'acquire', ['job', { namespace: '-' }]],
  ['lock "job": ', 'tryAcquire', ['job', { namespace: '-' }]],
  ['lock "job": ', 'withLock', ['job', { namespace: '-' }, nothing]],
  ['lock "job": ', 'acquireAll', [['job'], { namespace: '-' }]],
  ['lock "job": ', 'withLocks', [['job'], { namespace: '-' }, nothing]],
  ['lock "job": ', 'inspect', ['job', { namespace: '-' }]],
  ['lock "job": ', 'forceRelease', ['job', { namespace: '-' }]],
  ['semaphore("job"): ', 'semaphore', ['job', { permits: 2, namespace: '-' }]],
  ['semaphore("job"): ', 'semaphore', ['job', {}]],
  ['list(): ', 'list', [{ namespace: '-' }]],
  ['listSessions(): ', 'listSessions', [{ namespace: '-' }]],
])(
  'a wrong option is one of %s, given to %s()',
  async (place, method, args) => {
    const faults = await faultsOf(call(await api.service(), method, ...args));
    expect(faults).toEqual([expect.stringMatching(/ must be /)]);
    expect(faults[0]!.startsWith(place)).toBe(true);
  },
);

it.each<[place: string, method: string, args: unknown[]]>([
  ['lock "job": the last', 'withLock', ['job', {}]],
  ['lock "job": signal', 'withLock', ['job', { signal: 1 }, nothing]],
  ['lock "job": signal', 'withLocks', [['job'], { signal: 1 }, nothing]],
  ['lock "job": reentrant', 'acquire', ['job', { reentrant: true }]],
  ['withLocks("a", "b"): the last', 'withLocks', [['a', 'b'], {}]],
  ['acquireAll("a", "b"): signal', 'acquireAll', [['a', 'b'], { signal: 1 }]],
  ['acquireAll(): a lock name', 'acquireAll', [['a', '']]],
  ['withLocks(): a lock name', 'withLocks', [['a', 5], {}, nothing]],
  ['the first argument of acquireAll()', 'acquireAll', ['a']],
  ['tryAcquire(): a lock name', 'tryAcquire', ['']],
  ['withLock(): a lock name', 'withLock', ['', nothing]],
  ['inspect(): a lock name', 'inspect', [5]],
  ['forceRelease(): a lock name', 'forceRelease', [null]],
  ['semaphore(): a lock name', 'semaphore', ['', { permits: 2 }]],
  ['semaphore("job"): the options', 'semaphore', ['job']],
  ['semaphore("job"): signal', 'semaphore', ['job', { signal: 1 }]],
  ['list(): signal', 'list', [{ signal: 1 }]],
  ['the options of listSessions()', 'listSessions', [5]],
])(
  'a wrong argument is told as %s, given to %s()',
  async (start, method, args) => {
    const faults = await faultsOf(call(await api.service(), method, ...args));
    expect(faults).toEqual([expect.stringMatching(/ (?:must be|is not) /)]);
    expect(faults[0]!.startsWith(start)).toBe(true);
    expect(api.server.requests.count()).toBe(0);
  },
);

describe('waitTimeout', () => {
  it('is refused by tryAcquire(), which does not wait', async () => {
    const locks = await api.service();
    expect(
      await faultsOf(call(locks, 'tryAcquire', 'job', { waitTimeout: 5 })),
    ).toEqual([
      'lock "job": waitTimeout is not an option of tryAcquire(), which does not wait: use acquire() for that',
    ]);
    expect(api.server.requests.count()).toBe(0);
  });

  it('may be set for the module, or undefined', async () => {
    const locks = await api.service({ waitTimeout: 5 });
    await using lock = await locks.tryAcquire('job');
    expect(lock?.isHeld).toBe(true);
    const options = { waitTimeout: undefined };
    expect(await call(locks, 'tryAcquire', 'job', options)).toBeUndefined();
  });
});

describe('reentrant', () => {
  it.each([
    ['acquire', true],
    ['acquire', false],
    ['tryAcquire', true],
    ['tryAcquire', false],
  ])(
    'is refused by %s(), which would not heed it: %s',
    async (method, reentrant) => {
      const locks = await api.service();
      expect(await faultsOf(call(locks, method, 'job', { reentrant }))).toEqual(
        [
          `lock "job": reentrant is not an option of ${method}(), which never shares a lock of its caller: use withLock() or @WithLeaseLock() for that`,
        ],
      );
      expect(api.server.requests.count()).toBe(0);
    },
  );

  it('may be set for the module, or undefined', async () => {
    const locks = await api.service({ reentrant: false });
    await using lock = await locks.acquire('one');
    expect(lock.isHeld).toBe(true);
    await call(locks, 'tryAcquire', 'two', { reentrant: undefined });
    expect(api.server.requests.count({ verb: 'create' })).toBe(2);
  });
});

describe('signal', () => {
  it.each<[string, unknown, string]>([
    ['a string', 'x', '"x"'],
    ['an object', {}, 'an object'],
    ['null', null, 'null'],
    ['an EventTarget', new EventTarget(), 'an instance of EventTarget'],
    [
      'an AbortController',
      new AbortController(),
      'an AbortController: pass its signal',
    ],
  ])('that is %s', async (_, signal, shown) => {
    const locks = await api.service();
    const fault = `lock "job": signal must be an AbortSignal, not ${shown}`;
    const calls: [method: string, ...rest: unknown[]][] = [
      ['acquire', { signal }],
      ['tryAcquire', { signal }],
      ['withLock', { signal }, nothing],
    ];
    for (const [method, ...rest] of calls) {
      // oxlint-disable-next-line no-await-in-loop -- one case after the other
      expect(await faultsOf(call(locks, method, 'job', ...rest))).toEqual([
        fault,
      ]);
    }
    expect(api.server.requests.count()).toBe(0);
  });
});

describe('the work of withLock()', () => {
  it.each<[string, unknown[], string]>([
    ['a number', [5], '5'],
    ['left out', [], 'undefined'],
    ['options alone', [{ waitTimeout: 5 }], 'an object'],
    [
      'a Promise',
      [{}, Promise.resolve()],
      'a Promise: its work runs already, without the lock',
    ],
    [
      'a class',
      [LockConfigurationError],
      'the class LockConfigurationError: pass an instance of it',
    ],
  ])(
    'that is %s is refused before the lock is acquired',
    async (_, rest, shown) => {
      const locks = await api.service();
      expect(await faultsOf(call(locks, 'withLock', 'job', ...rest))).toEqual([
        `lock "job": the last argument of withLock() must be the function to run under the lock, not ${shown}; to hold a lock until you release it, use acquire()`,
      ]);
      expect(api.server.requests.count()).toBe(0);
    },
  );

  it.each<[string, () => unknown]>([
    ['an Observable', (): Observable<number> => from([1])],
    ['a promise of an Observable', async () => from([1])],
    [
      'a generator',
      function* () {
        yield 1;
      },
    ],
    [
      'an async generator',
      async function* () {
        yield 1;
      },
    ],
    ['a generator that is compiled for an old target', () => oldGenerator()],
  ])('may not come to %s, which would run unlocked', async (_, work) => {
    const locks = await api.service();
    const [fault] = await faultsOf(call(locks, 'withLock', 'job', work));
    expect(fault).toMatch(
      /^the function of withLock\("job"\) returned an? (Observable|generator), whose work would run after the lock has been released/,
    );
    expect((await locks.inspect('job')).state).toBe('free');
  });
});

it.each<[unknown, string]>([
  ['', '""'],
  [undefined, 'undefined'],
  [Promise.resolve('job'), 'a Promise: await it'],
  [nothing, 'the function nothing: pass its result'],
])('a name that is no name is refused: %#', async (name, shown) => {
  const locks = await api.service();
  expect(await faultsOf(call(locks, 'acquire', name))).toEqual([
    `acquire(): a lock name must be a non-empty string, not ${shown}`,
  ]);
});
