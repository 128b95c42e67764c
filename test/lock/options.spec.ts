/** The options: defaults, precedence, and the message of every fault. */
import { describe, expect, it } from 'vitest';
import {
  LONGEST_LEASE_DURATION,
  resolveLockOptions,
  resolveModuleOptions,
  type LockOptions,
} from '../../lib/k8s-lock.options.js';
import { LockConfigurationError } from '../../lib/lock.errors.js';

/** The faults of options that may be of any shape, as they come from JavaScript. */
function faultsOf(options: object): readonly string[] {
  try {
    resolveModuleOptions(options);
    return [];
  } catch (error) {
    if (error instanceof LockConfigurationError) {
      return error.faults;
    }
    throw error;
  }
}

describe('the defaults', () => {
  it('of a lock', () => {
    expect(resolveLockOptions()).toEqual({
      namespace: undefined,
      leaseDuration: 15_000,
      autoRenew: true,
      renewInterval: 5_000,
      safetyMargin: 1_500,
      maxHold: undefined,
      minHold: 0,
      retryInterval: 1_000,
      waitTimeout: undefined,
      createLease: true,
      deleteOnRelease: false,
      reentrant: true,
      permits: 1,
    });
  });

  it('of the module', () => {
    expect(resolveModuleOptions()).toEqual({
      kubeConfig: undefined,
      inCluster: undefined,
      clientId: expect.stringMatching(/^.+_[-0-9a-f]{36}$/),
      namePrefix: '',
      renewal: 'lock',
      requestTimeout: 5_000,
      shutdownTimeout: 10_000,
      verifyAtStartup: 'warn',
      http: true,
      lock: {},
    });
  });

  it('of the clientId differ from one process to the next', () => {
    expect(resolveModuleOptions().clientId).not.toBe(
      resolveModuleOptions().clientId,
    );
  });

  it('follow from leaseDuration where they depend on it', () => {
    expect(resolveLockOptions({ leaseDuration: 60_000 })).toMatchObject({
      renewInterval: 20_000,
      safetyMargin: 6_000,
    });
    expect(resolveLockOptions({ leaseDuration: 'infinite' })).toMatchObject({
      renewInterval: 5_000,
      safetyMargin: 0,
    });
  });
});

describe('what is given', () => {
  const given: Required<Omit<LockOptions, 'namespace'>> = {
    leaseDuration: 30_000,
    autoRenew: false,
    renewInterval: 7_000,
    safetyMargin: 2_000,
    maxHold: 60_000,
    minHold: 3_000,
    retryInterval: 250,
    waitTimeout: 0,
    createLease: false,
    deleteOnRelease: true,
    reentrant: false,
  };

  it('to the module holds for every lock', () => {
    const { lock } = resolveModuleOptions({ ...given, namespace: 'jobs' });
    expect(resolveLockOptions({}, lock)).toEqual({
      ...given,
      namespace: 'jobs',
      permits: 1,
    });
  });

  it('to a call goes before what is given to the module; undefined is not given', () => {
    expect(
      resolveLockOptions(
        {
          leaseDuration: 40_000,
          minHold: undefined,
          autoRenew: true,
          permits: 3,
        },
        given,
      ),
    ).toEqual({
      ...given,
      namespace: undefined,
      leaseDuration: 40_000,
      autoRenew: true,
      permits: 3,
    });
  });
});

describe('a fault names the option, its value and the rule', () => {
  const notPositive = [0, -1, Number.NaN, Infinity, '5', null];
  const notBoolean = ['true', 1, null];
  const wrong: Record<string, unknown[]> = {
    leaseDuration: [
      0,
      999,
      1_500,
      -1_000,
      Infinity,
      LONGEST_LEASE_DURATION,
      'forever',
      null,
    ],
    autoRenew: notBoolean,
    renewInterval: [...notPositive, 1e-9, 9.9],
    safetyMargin: [-1, Number.NaN, Infinity, '5', null],
    maxHold: notPositive,
    minHold: [-1, Number.NaN, Infinity, '5', null],
    retryInterval: [...notPositive, 1e-9, 9.9],
    waitTimeout: [-1, Number.NaN, Infinity, '5', null],
    createLease: notBoolean,
    deleteOnRelease: notBoolean,
    namespace: ['', 'Jobs', 'a.b', '-a', 'a-', 'a'.repeat(64), 7, null],
    clientId: ['', 'a b', 'ä', 'a\nb', 'a'.repeat(201), 7, null],
    namePrefix: ['-a', 'A', 'a_', 'a'.repeat(201), 7, null],
    requestTimeout: [...notPositive, 1e-9, 99],
    shutdownTimeout: [-1, Number.NaN, Infinity, '5', null],
    verifyAtStartup: [true, 'yes', null],
    inCluster: notBoolean,
    http: notBoolean,
    renewal: ['sessions', true, null],
    kubeConfig: ['~/.kube/config', {}, null],
  };
  const cases = Object.entries(wrong).flatMap(([name, values]) =>
    values.map((value) => [name, value] as const),
  );

  it.each(cases)('%s: %j', (name, value) => {
    const shown =
      typeof value === 'string'
        ? /not ".*"$/
        : typeof value === 'object' && value !== null
          ? /not an object$/
          : new RegExp(`not ${String(value)}$`);
    const faults = faultsOf({ [name]: value });
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatch(new RegExp(`^${name} must be .*, not `, 's'));
    expect(faults[0]).toMatch(shown);
  });

  it.each<[string, object]>([
    ['the shortest lease', { leaseDuration: 1_000 }],
    ['the longest lease', { leaseDuration: LONGEST_LEASE_DURATION - 1_000 }],
    ['an infinite lease', { leaseDuration: 'infinite', renewInterval: 1e9 }],
    ['no margin', { safetyMargin: 0 }],
    [
      'a lock that is held for as little as can be',
      { leaseDuration: 1_000, safetyMargin: 900, renewInterval: 50 },
    ],
    ['the shortest intervals', { renewInterval: 10, retryInterval: 10 }],
    ['the shortest time-out', { requestTimeout: 100 }],
    ['no wait', { waitTimeout: 0 }],
    ['no prefix', { namePrefix: '' }],
    ['a long namespace', { namespace: 'a'.repeat(63) }],
    ['no check at startup', { verifyAtStartup: false }],
    ['undefined', { leaseDuration: undefined, clientId: undefined }],
    ['a session', { renewal: 'session', leaseDuration: 1_000, maxHold: 100 }],
    // It would not be renewed anyway.
    ['a late renewal that is off', { autoRenew: false, renewInterval: 60_000 }],
  ])('there is none in %s', (_, options) => {
    expect(faultsOf({ ...options })).toEqual([]);
  });

  it.each<[string, object, string]>([
    [
      'safetyMargin',
      { leaseDuration: 2_000, safetyMargin: 2_000 },
      'safetyMargin must be at most leaseDuration - 100 (1900), not 2000: the lock would be lost before it is acquired',
    ],
    [
      'safetyMargin',
      { leaseDuration: 2_000, safetyMargin: 1_999.5, autoRenew: false },
      'safetyMargin must be at most leaseDuration - 100 (1900), not 1999.5: the lock would be lost before it is acquired',
    ],
    [
      'renewInterval',
      { leaseDuration: 2_000, renewInterval: 1_799.9 },
      'renewInterval must be at most leaseDuration - safetyMargin - 50 (1750), not 1799.9: the lock would be lost before its first renewal',
    ],
    [
      'minHold',
      { minHold: 6_000, maxHold: 5_000 },
      'minHold must be at most maxHold (5000), not 6000',
    ],
    [
      'minHold',
      { minHold: LONGEST_LEASE_DURATION },
      `minHold must be less than ${LONGEST_LEASE_DURATION}, not ${LONGEST_LEASE_DURATION}`,
    ],
  ])('%s, together with another option', (_, options, fault) => {
    expect(faultsOf({ ...options })).toEqual([fault]);
  });

  it('inCluster, together with kubeConfig', () => {
    const kubeConfig = { applyToHTTPSOptions() {}, getCurrentCluster() {} };
    expect(faultsOf({ kubeConfig, inCluster: true })).toEqual([
      'inCluster cannot be used together with kubeConfig, which names the cluster: remove one of the two',
    ]);
  });

  it('a lease that does not end with the process, or is not renewed, under a session', () => {
    const renewal = 'session';
    expect(faultsOf({ renewal, leaseDuration: 'infinite' })).toEqual([
      expect.stringMatching(
        /^leaseDuration must be a number of milliseconds under renewal: 'session', not "infinite"/,
      ),
    ]);
    expect(faultsOf({ renewal, autoRenew: false })).toEqual([
      expect.stringMatching(
        /^autoRenew must be true under renewal: 'session', not false/,
      ),
    ]);
  });

  it('renewal, of a single lock', () => {
    const options: object = { renewal: 'session' };
    expect(() => resolveLockOptions({ ...options })).toThrow(
      '"renewal" is not an option here: it is for forRoot(), since all locks share one session',
    );
  });

  it('for a call that contradicts the module', () => {
    expect(() =>
      resolveLockOptions({ leaseDuration: 2_000 }, { renewInterval: 5_000 }),
    ).toThrow('renewInterval must be at most');
  });

  it('for an option that does not exist, with those that do', () => {
    expect(faultsOf({ leaseDuraton: 1, toString: 1 })).toEqual([
      expect.stringMatching(
        /^"leaseDuraton" is not an option; the options are namespace, leaseDuration, /,
      ),
      expect.stringMatching(/^"toString" is not an option/),
    ]);
  });

  it('all at once, in one message', () => {
    const error: unknown = (() => {
      try {
        return resolveModuleOptions({
          leaseDuration: 1,
          minHold: -1,
          clientId: ' ',
        });
      } catch (fault) {
        return fault;
      }
    })();
    expect(error).toMatchObject({
      message: [
        'nestjs-k8s-lock: 3 faults in the configuration:',
        "  - leaseDuration must be whole seconds in milliseconds (1000, 2000, …), or 'infinite', not 1",
        '  - minHold must be a number of milliseconds, 0 or more, not -1',
        '  - clientId must be 1 to 200 printable ASCII characters without spaces, not " "',
      ].join('\n'),
    });
  });
});
