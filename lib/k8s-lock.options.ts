/** The options of the module and of locks: meaning, defaults and validation. */
// oxlint-disable-next-line no-restricted-imports -- a type, of KubeConfigLike
import type { RequestOptions } from 'node:https';
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { LockConfigurationError } from './lock.errors.js';
import { printable, quote } from './printable.js';

/** How one lock is acquired, held and released. Every duration is in milliseconds. */
export interface LockOptions {
  /**
   * Namespace of the Lease.
   *
   * @defaultValue the namespace of the kubeconfig's context, or of the pod, else `default`
   */
  namespace?: string;
  /**
   * How long a holder that stopped renewing (crashed, paused, cut off) keeps others out. Whole seconds
   * of at least `1000`, or `'infinite'`: held until released, even if the holder dies.
   *
   * @defaultValue `15000`
   */
  leaseDuration?: number | 'infinite';
  /**
   * Renew the lease while the lock is held. `false`: the lock is lost `safetyMargin` before
   * `leaseDuration` ends.
   *
   * @defaultValue `true`
   */
  autoRenew?: boolean;
  /**
   * Time between renewals: at least `10`, at most `leaseDuration - safetyMargin - 50`.
   *
   * @defaultValue `leaseDuration / 3`, or `5000` when infinite
   */
  renewInterval?: number;
  /**
   * A holder that can't renew gives up this long before its lease expires for others, so that clocks
   * that run at different rates never overlap. At most `leaseDuration - 100`.
   *
   * @defaultValue `leaseDuration / 10`, or `0` when infinite
   */
  safetyMargin?: number;
  /**
   * Hard limit: after this time the lock is lost, whatever the work does. It counts from the acquisition; for a
   * claimed fire, from the moment at which its work begins.
   *
   * @defaultValue none
   */
  maxHold?: number;
  /**
   * The lock stays taken for at least this long after it was acquired, even if the work ends sooner.
   * The caller is not kept waiting. Other processes see it in whole seconds, rounded up. Does not apply
   * to a fire that was cut short.
   *
   * @defaultValue `0`
   */
  minHold?: number;
  /**
   * Poll interval while waiting, with jitter; at least `10`. A watch usually wakes a waiter long before; polling is
   * the fallback, and five times rarer once the watch has told of a renewal, or far from the front of the line. With
   * `autoRenew: false` the holder also checks at this interval whether it still has the lock.
   *
   * @defaultValue `1000`
   */
  retryInterval?: number;
  /**
   * How long to wait for the lock. `0` tries once.
   *
   * @defaultValue none, or `10000` under `@WithLeaseLock` and `LeaseLockInterceptor()`
   */
  waitTimeout?: number;
  /**
   * Create the Lease when it does not exist. `false`: a missing Lease is an error.
   *
   * @defaultValue `true`
   */
  createLease?: boolean;
  /**
   * Delete the Lease on release instead of marking it free, so that Leases of dynamic names do not pile
   * up. A Lease that `minHold` keeps taken, that stores a fire claim, or that has finalizers is kept.
   *
   * @defaultValue `false`
   */
  deleteOnRelease?: boolean;
  /**
   * Work that runs under the lock and asks for it again, by `withLock()` or a decorated method, shares
   * it. The lock is released when all of that work has ended. The async context decides what counts as
   * such work: a job that a queue runs in the context of a holder shares the lock, even if another
   * caller queued it. `false`, on either of the two: the call waits like any other, and waits for itself
   * if its own caller holds the lock.
   *
   * @defaultValue `true`
   */
  reentrant?: boolean;
}

/** The options of one lock, which its decorator or call sets. */
export interface OwnLockOptions extends LockOptions {
  /**
   * Make the lock a semaphore: at most this many calls hold it at a time, across all processes; a whole number
   * from `1` to `100`. Each permit has a Lease of its own. Use one number everywhere: while processes differ,
   * the greatest counts. Above `1` not together with `oncePerFire`.
   *
   * @defaultValue `1`
   */
  permits?: number;
}

/**
 * What a call under `@WithLeaseLock` or `LeaseLockInterceptor()` does when the lock is taken. A call under
 * `oncePerFire` first makes sure that the holder is alive, which takes until the holder renews. If the
 * holder is dead, the call acquires the lock as soon as the lease has expired.
 */
export type OnLocked =
  /** Wait for up to `waitTimeout`, then reject with `LockNotAcquiredError`. */
  | 'wait'
  /** Do not run; the call resolves with undefined, and a route answers 204. */
  | 'skip'
  /** Reject with `LockNotAcquiredError` at once. */
  | 'throw';

/**
 * The part of a `KubeConfig` of `@kubernetes/client-node` that is used. A KubeConfig of another copy or
 * version of that package fits, and so does a plain object. These types import nothing from that package.
 */
export interface KubeConfigLike {
  /** Adds the credentials and the TLS settings. Called for each request, since they may change. */
  applyToHTTPSOptions(options: RequestOptions): Promise<void>;
  getContextObject(name: string): { readonly namespace?: string } | null;
  getCurrentCluster(): {
    readonly server: string;
    readonly skipTLSVerify: boolean;
    readonly proxyUrl?: string;
  } | null;
  getCurrentContext(): string;
}

/** The options of `K8sLockModule.forRoot()`: the defaults of every lock, and the connection. */
export interface K8sLockModuleOptions extends LockOptions {
  /**
   * A `KubeConfig` of `@kubernetes/client-node`.
   *
   * @defaultValue the in-cluster configuration where there is one, else the local kubeconfig (`KUBECONFIG`, else `~/.kube/config`)
   */
  kubeConfig?: KubeConfigLike;
  /**
   * `true`: only the in-cluster configuration. `false`: only the local kubeconfig.
   *
   * @defaultValue none: either
   */
  inCluster?: boolean;
  /**
   * Identifies this process in the holder identity of its locks. Must be unique per process.
   *
   * @defaultValue `<hostname>_<uuid>`
   */
  clientId?: string;
  /**
   * Put before every lock name, for instance to keep environments apart.
   *
   * @defaultValue none
   */
  namePrefix?: string;
  /**
   * What keeps held locks alive. `'lock'`: a renewal of each. `'session'`: one Lease of this process in each
   * namespace, which is renewed for all of its locks, for processes that hold hundreds of locks or more. If that
   * session is lost, all of them are. A lock is renewed by itself if its `leaseDuration`, `renewInterval` or
   * `safetyMargin` is not that of the module, or with `autoRenew: false`.
   *
   * @defaultValue `'lock'`
   */
  renewal?: 'lock' | 'session';
  /**
   * How long one request to the API server may take once it is sent; at least `100`. A queued request
   * fails if no other gets an answer for that long. For a held lock it is cut to the time left to the
   * deadline.
   *
   * @defaultValue `5000`
   */
  requestTimeout?: number;
  /**
   * How long a closing application waits for locked work to end before it releases the locks.
   *
   * @defaultValue `10000`
   */
  shutdownTimeout?: number;
  /**
   * Check at startup that the API server answers and grants the rights that locks need. `'warn'` logs
   * missing rights, `'require'` keeps the application from starting, `false` does not check.
   *
   * @defaultValue `'warn'`
   */
  verifyAtStartup?: 'warn' | 'require' | false;
  /**
   * What routes on Express and Fastify do beyond their error answers: a skipped route answers 204, a locked route
   * adds `Retry-After` to its error, and the wait of a client that goes away is cancelled. `false` leaves requests
   * and answers alone.
   *
   * @defaultValue `true`
   */
  http?: boolean;
}

/** {@link LockOptions} with every default filled in. */
export interface ResolvedLockOptions {
  readonly namespace: string | undefined;
  /** Infinity: until it is released. */
  readonly leaseDuration: number;
  readonly autoRenew: boolean;
  readonly renewInterval: number;
  readonly safetyMargin: number;
  readonly maxHold: number | undefined;
  readonly minHold: number;
  readonly retryInterval: number;
  readonly waitTimeout: number | undefined;
  readonly createLease: boolean;
  readonly deleteOnRelease: boolean;
  readonly reentrant: boolean;
  readonly permits: number;
}

/** {@link K8sLockModuleOptions} with every default of the module filled in. */
export interface ResolvedModuleOptions {
  readonly kubeConfig: KubeConfigLike | undefined;
  readonly inCluster: boolean | undefined;
  readonly clientId: string;
  readonly namePrefix: string;
  readonly renewal: 'lock' | 'session';
  readonly requestTimeout: number;
  readonly shutdownTimeout: number;
  readonly verifyAtStartup: 'warn' | 'require' | false;
  readonly http: boolean;
  /** The defaults of locks as they were given, to be completed by {@link resolveLockOptions}. */
  readonly lock: LockOptions;
}

/** `waitTimeout` under `@WithLeaseLock` and `LeaseLockInterceptor()`. */
export const DECORATOR_WAIT_TIMEOUT = 10_000;

/** The longest duration that a Lease can carry: leaseDurationSeconds is an int32. */
export const LONGEST_LEASE_DURATION = 2_147_483_647_000;

/** A rule for a value: the end of a sentence, and the check. */
export type Rule = readonly [rule: string, holds: (value: unknown) => boolean];

const isMilliseconds = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0;

export const POSITIVE: Rule = [
  'must be a number of milliseconds greater than 0',
  (value) => isMilliseconds(value) && value > 0,
];
/** For intervals and timeouts that must leave time for a request, or must not become a busy loop. */
const atLeast = (least: number): Rule => [
  `must be a number of milliseconds, ${least} or more`,
  (value) => isMilliseconds(value) && value >= least,
];
/** The shortest time between two requests of one kind for one lock, in milliseconds. */
const SHORTEST_INTERVAL = 10;
/** The shortest time that an API server gets to answer, in milliseconds. */
const SHORTEST_REQUEST_TIMEOUT = 100;
/** The shortest time for which a lock can be held, in milliseconds; the acquiring write takes a part of it. */
const SHORTEST_HOLD = 100;
/** The shortest time that remains for a renewal before the lock is lost, in milliseconds. */
export const SHORTEST_RENEWAL = 50;
export const NOT_NEGATIVE: Rule = [
  'must be a number of milliseconds, 0 or more',
  isMilliseconds,
];
export const BOOLEAN: Rule = [
  'must be true or false',
  (value) => typeof value === 'boolean',
];

export const LOCK_RULES: Record<keyof LockOptions, Rule> = {
  namespace: [
    'must be a DNS-1123 label: at most 63 of a-z, 0-9 and -, with a letter or digit at both ends',
    (value) =>
      typeof value === 'string' &&
      /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(value),
  ],
  leaseDuration: [
    "must be whole seconds in milliseconds (1000, 2000, …), or 'infinite'",
    (value) =>
      value === 'infinite' ||
      (isMilliseconds(value) &&
        value >= 1_000 &&
        value % 1_000 === 0 &&
        value < LONGEST_LEASE_DURATION),
  ],
  autoRenew: BOOLEAN,
  renewInterval: atLeast(SHORTEST_INTERVAL),
  safetyMargin: NOT_NEGATIVE,
  maxHold: POSITIVE,
  minHold: NOT_NEGATIVE,
  retryInterval: atLeast(SHORTEST_INTERVAL),
  waitTimeout: NOT_NEGATIVE,
  createLease: BOOLEAN,
  deleteOnRelease: BOOLEAN,
  reentrant: BOOLEAN,
};

/** The most permits of a semaphore: a call that waits watches a Lease for each. */
export const MOST_PERMITS = 100;

const OWN_RULES: Record<keyof OwnLockOptions, Rule> = {
  ...LOCK_RULES,
  permits: [
    `must be a whole number from 1 to ${MOST_PERMITS}`,
    (value) =>
      typeof value === 'number' &&
      Number.isInteger(value) &&
      value >= 1 &&
      value <= MOST_PERMITS,
  ],
};

const MODULE_RULES: Record<keyof K8sLockModuleOptions, Rule> = {
  ...LOCK_RULES,
  kubeConfig: [
    'must be a KubeConfig of @kubernetes/client-node',
    (value) =>
      typeof value === 'object' &&
      value !== null &&
      'applyToHTTPSOptions' in value &&
      'getCurrentCluster' in value,
  ],
  inCluster: BOOLEAN,
  clientId: [
    'must be 1 to 200 printable ASCII characters without spaces',
    (value) => typeof value === 'string' && /^[!-~]{1,200}$/.test(value),
  ],
  namePrefix: [
    'must be at most 200 of a-z, 0-9, - and ., and start with a letter or digit',
    (value) =>
      typeof value === 'string' && /^([a-z0-9][-.a-z0-9]{0,199})?$/.test(value),
  ],
  renewal: [
    "must be 'lock' or 'session'",
    (value) => value === 'lock' || value === 'session',
  ],
  requestTimeout: atLeast(SHORTEST_REQUEST_TIMEOUT),
  shutdownTimeout: NOT_NEGATIVE,
  verifyAtStartup: [
    "must be 'warn', 'require' or false",
    (value) => value === 'warn' || value === 'require' || value === false,
  ],
  http: BOOLEAN,
};

/**
 * Validates the options of the module and fills in its defaults.
 *
 * @throws LockConfigurationError that names every fault
 */
export function resolveModuleOptions(
  options: K8sLockModuleOptions = {},
): ResolvedModuleOptions {
  const faults = findFaults(options, MODULE_RULES);
  if (options.kubeConfig !== undefined && options.inCluster !== undefined) {
    faults.push(
      'inCluster cannot be used together with kubeConfig, which names the cluster: remove one of the two',
    );
  }
  const {
    kubeConfig,
    inCluster,
    clientId,
    namePrefix,
    renewal,
    requestTimeout,
    shutdownTimeout,
    verifyAtStartup,
    http,
    ...lock
  } = options;
  faults.push(...findContradictions(faults, lock));
  if (renewal === 'session') {
    faults.push(...findSessionFaults(lock));
  }
  throwFaults(faults);
  return {
    kubeConfig,
    inCluster,
    clientId: clientId ?? `${hostname()}_${randomUUID()}`,
    namePrefix: namePrefix ?? '',
    renewal: renewal ?? 'lock',
    requestTimeout: requestTimeout ?? 5_000,
    shutdownTimeout: shutdownTimeout ?? 10_000,
    verifyAtStartup: verifyAtStartup ?? 'warn',
    http: http ?? true,
    lock,
  };
}

/**
 * Validates the options of one lock, merged over those of the module, and fills in the defaults.
 *
 * @param describe what each fault begins with: the lock, or the call, that the options are of
 * @throws LockConfigurationError that names every fault
 */
export function resolveLockOptions(
  own: OwnLockOptions = {},
  module: LockOptions = {},
  describe?: () => string,
): ResolvedLockOptions {
  const faults = findFaults(own, OWN_RULES);
  const merged: OwnLockOptions = { ...module, ...withoutUndefined(own) };
  faults.push(...findContradictions(faults, merged));
  throwFaults(faults, describe);
  return complete(merged);
}

function complete(options: OwnLockOptions): ResolvedLockOptions {
  const given = options.leaseDuration ?? 15_000;
  const isInfinite = given === 'infinite';
  const leaseDuration = isInfinite ? Infinity : given;
  return {
    namespace: options.namespace,
    leaseDuration,
    autoRenew: options.autoRenew ?? true,
    renewInterval:
      options.renewInterval ?? (isInfinite ? 5_000 : leaseDuration / 3),
    safetyMargin: options.safetyMargin ?? (isInfinite ? 0 : leaseDuration / 10),
    maxHold: options.maxHold,
    minHold: options.minHold ?? 0,
    retryInterval: options.retryInterval ?? 1_000,
    waitTimeout: options.waitTimeout,
    createLease: options.createLease ?? true,
    deleteOnRelease: options.deleteOnRelease ?? false,
    reentrant: options.reentrant ?? true,
    permits: options.permits ?? 1,
  };
}

/** @throws LockConfigurationError if a semaphore is made without permits */
export function requirePermits(
  options: Partial<OwnLockOptions>,
  describe: () => string,
): void {
  if (options.permits === undefined) {
    throwFaults([`permits ${OWN_RULES.permits[0]}, not undefined`], describe);
  }
}

/** Options that were given in the wrong place, and where they belong. */
const PLACES = new Map([
  [
    'isGlobal',
    'it goes beside useFactory, useClass or useExisting in forRootAsync()',
  ],
  ['renewal', 'it is for forRoot(), since all locks share one session'],
  [
    'permits',
    'it is for semaphore(), @WithLeaseLock() and LeaseLockInterceptor(), since it belongs to one name',
  ],
  ['onLocked', 'it is for @WithLeaseLock() and LeaseLockInterceptor()'],
  ['oncePerFire', 'it is for @WithLeaseLock()'],
  ['onFailure', 'it is for @WithLeaseLock()'],
  ['catchUp', 'it is for @WithLeaseLock()'],
  [
    'signal',
    'it is for acquire(), acquireAll(), tryAcquire(), withLock() and withLocks()',
  ],
]);

/** The fault of a value that should be an object with options; `what` is the subject of the sentence. */
export function findObjectFaults(what: string, value: unknown): string[] {
  const isObject =
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !isPromise(value);
  return isObject
    ? []
    : [`${what} must be an object with options, not ${describeValue(value)}`];
}

/**
 * Checks the arguments of a call of LockService at run time, before anything is acquired.
 *
 * @throws LockConfigurationError that names every fault
 */
export function checkCall(
  method: string,
  call: { name?: unknown; names?: unknown; options: unknown; work?: unknown },
): void {
  const { options, work } = call;
  const names = 'names' in call ? call.names : [call.name];
  const faults: string[] = [];
  const takesWork = method === 'withLock' || method === 'withLocks';
  if (!Array.isArray(names) || names.length === 0) {
    faults.push(
      `the first argument of ${method}() must be an array of one or more lock names, not ${Array.isArray(names) ? 'an empty one' : describeValue(names)}`,
    );
  } else if (!method.startsWith('list')) {
    for (const name of new Set<unknown>(names)) {
      if (typeof name !== 'string' || name === '') {
        faults.push(
          `a lock name must be a non-empty string, not ${describeValue(name)}`,
        );
      }
    }
  }
  if (takesWork && (typeof work !== 'function' || isClass(work))) {
    const shown =
      typeof work === 'object' && work !== null && isPromise(work)
        ? 'a Promise: its work runs already, without the lock'
        : describeValue(work);
    faults.push(
      method === 'withLock'
        ? `the last argument of withLock() must be the function to run under the lock, not ${shown}; to hold a lock until you release it, use acquire()`
        : `the last argument of withLocks() must be the function to run under the locks, not ${shown}; to hold locks until you release them, use acquireAll()`,
    );
  }
  faults.push(...findObjectFaults(`the options of ${method}()`, options));
  if (typeof options === 'object' && options !== null) {
    if ('signal' in options) {
      faults.push(...findFaults({ signal: options.signal }, SIGNAL_RULE));
    }
    const neverShares = ['acquire', 'acquireAll', 'tryAcquire'].includes(
      method,
    );
    if (neverShares && Reflect.get(options, 'reentrant') !== undefined) {
      faults.push(
        `reentrant is not an option of ${method}(), which never shares a lock of its caller: use ${method === 'acquireAll' ? 'withLocks()' : 'withLock()'} or @WithLeaseLock() for that`,
      );
    }
    if (
      method === 'tryAcquire' &&
      Reflect.get(options, 'waitTimeout') !== undefined
    ) {
      faults.push(
        'waitTimeout is not an option of tryAcquire(), which does not wait: use acquire() for that',
      );
    }
  }
  const place = describeCall(method, names);
  throwFaults(
    faults.map((fault) =>
      fault.includes(place) ? fault : `${place}: ${fault}`,
    ),
  );
}

/** What the faults of a call begin with: its lock, or the method if it has several, or none that can be named. */
function describeCall(method: string, names: unknown): string {
  const areNames =
    Array.isArray(names) &&
    names.every((name) => typeof name === 'string' && name !== '');
  if (!areNames) {
    return `${method}()`;
  }
  return names.length === 1 && method !== 'semaphore'
    ? `lock ${quote(names[0])}`
    : `${method}(${names.map(quote).join(', ')})`;
}

const SIGNAL_RULE: Record<string, Rule> = {
  signal: ['must be an AbortSignal', isAbortSignal],
};

/** Not by instanceof, since it may come from another realm; nor by methods, which any EventTarget has. */
function isAbortSignal(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'aborted' in value &&
    'reason' in value &&
    typeof value.aborted === 'boolean' &&
    typeof Reflect.get(value, 'addEventListener') === 'function' &&
    typeof Reflect.get(value, 'removeEventListener') === 'function'
  );
}

/** One sentence for each unknown option, and for each option that breaks its rule. */
export function findFaults(
  options: object,
  rules: Record<string, Rule>,
): string[] {
  const faults: string[] = [];
  for (const [name, value] of Object.entries(options)) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined) {
      faults.push(
        `${quote(name)} is not an option${PLACES.has(name) ? ` here: ${PLACES.get(name)}` : ''}; the options are ${Object.keys(rules).join(', ')}`,
      );
    } else if (value !== undefined && !rule[1](value)) {
      // The text of a kubeconfig contains credentials.
      const isSecret = name === 'kubeConfig' && typeof value === 'string';
      faults.push(
        `${name} ${rule[0]}, not ${isSecret ? '"…"' : describeValue(value)}`,
      );
    }
  }
  return faults;
}

/** Checks rules between options; called only if each option is valid. */
function findContradictions(
  faults: readonly string[],
  options: LockOptions,
): string[] {
  if (faults.length > 0) {
    return [];
  }
  const { leaseDuration, autoRenew, renewInterval, safetyMargin, ...rest } =
    complete(options);
  const found: string[] = [];
  const hold = leaseDuration - safetyMargin;
  if (hold < SHORTEST_HOLD) {
    found.push(
      `safetyMargin must be at most leaseDuration - ${SHORTEST_HOLD} (${leaseDuration - SHORTEST_HOLD}), not ${safetyMargin}: the lock would be lost before it is acquired`,
    );
  } else if (autoRenew && renewInterval > hold - SHORTEST_RENEWAL) {
    found.push(
      `renewInterval must be at most leaseDuration - safetyMargin - ${SHORTEST_RENEWAL} (${hold - SHORTEST_RENEWAL}), not ${renewInterval}: the lock would be lost before its first renewal`,
    );
  }
  if (rest.maxHold !== undefined && rest.minHold > rest.maxHold) {
    found.push(
      `minHold must be at most maxHold (${rest.maxHold}), not ${rest.minHold}`,
    );
  }
  if (rest.minHold >= LONGEST_LEASE_DURATION) {
    found.push(
      `minHold must be less than ${LONGEST_LEASE_DURATION}, not ${rest.minHold}`,
    );
  }
  return found;
}

/** Options of the module with which no lock could be held under a session. */
function findSessionFaults({
  leaseDuration,
  autoRenew,
}: LockOptions): string[] {
  return [
    ...(leaseDuration === 'infinite'
      ? [
          'leaseDuration must be a number of milliseconds under renewal: \'session\', not "infinite": it is that of the session, which ends when the process dies',
        ]
      : []),
    ...(autoRenew === false
      ? [
          "autoRenew must be true under renewal: 'session', not false: the session is what is renewed",
        ]
      : []),
  ];
}

/**
 * @param describe what each fault begins with
 * @throws LockConfigurationError if there are any
 */
export function throwFaults(
  faults: readonly string[],
  describe?: () => string,
): void {
  if (faults.length > 0) {
    const where = describe === undefined ? '' : `${describe()}: `;
    throw new LockConfigurationError(faults.map((fault) => where + fault));
  }
}

function withoutUndefined(options: OwnLockOptions): OwnLockOptions {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  );
}

/** Describes a value at the end of a sentence, with the fix if it is a common mistake. */
export function describeValue(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return quote(value);
    case 'object':
      return value === null ? 'null' : describeObject(value);
    case 'function':
      return describeFunction(value);
    case 'symbol':
      return 'a symbol';
    case 'bigint':
      return `the bigint ${value}`;
    default:
      return String(value);
  }
}

function describeObject(value: object): string {
  if (isPromise(value)) {
    return 'a Promise: await it';
  }
  if (Array.isArray(value)) {
    return 'an array';
  }
  if (value instanceof AbortController) {
    return 'an AbortController: pass its signal';
  }
  const name: unknown = findConstructor(value)?.name;
  return typeof name !== 'string' || name === '' || name === 'Object'
    ? 'an object'
    : `an instance of ${printable(name)}`;
}

function describeFunction(value: Function): string {
  const name = typeof value.name === 'string' ? printable(value.name) : '';
  if (isClass(value)) {
    return name === ''
      ? 'a class: pass an instance of it'
      : `the class ${name}: pass an instance of it`;
  }
  return `${name === '' ? 'a function' : `the function ${name}`}: pass its result`;
}

/** A class has a read-only `prototype`, a function has not. */
export function isClass(value: unknown): boolean {
  return (
    typeof value === 'function' &&
    Object.getOwnPropertyDescriptor(value, 'prototype')?.writable === false
  );
}

function findConstructor(value: object): Function | undefined {
  try {
    const { constructor } = value;
    return typeof constructor === 'function' ? constructor : undefined;
  } catch {
    return undefined; // a Proxy that throws
  }
}

function isPromise(value: object): boolean {
  try {
    return 'then' in value && typeof value.then === 'function';
  } catch {
    return false;
  }
}
