/** LockTestingController: what a test does to the locks of its application, and asserts of them. */
import { AssertionError } from 'node:assert';
import {
  checkCall,
  describeValue,
  findFaults,
  findObjectFaults,
  LOCK_RULES,
  MOST_PERMITS,
  resolveLockOptions,
  throwFaults,
  type Rule,
} from '../k8s-lock.options.js';
import type { LeaseKey, StoredLease } from '../kube/lease-store.js';
import type { LockBackend, LockClient, ResolvedLock } from '../lock.client.js';
import { quote } from '../printable.js';
import type { LockEvent, LockSkippedReason } from '../lock.events.js';
import { LockEngine } from '../lock/lock-engine.js';
import {
  isHeldBy,
  newHolderIdentity,
  readHolder,
  release,
  take,
} from '../lock/record/lease-record.js';
import { slotLeaseName } from '../lock/lease-name.js';
import {
  FAILURES,
  TestingCluster,
  type LockTestingFailure,
} from './testing-cluster.js';

/** Selects a lock of the application. */
export interface LockTestingTarget {
  /**
   * The namespace of the lock.
   *
   * @defaultValue that of the module
   */
  namespace?: string;
  /**
   * The slot of a semaphore.
   *
   * @defaultValue `0`, the lock of that name
   */
  slot?: number;
}

/** Selects the requests that fail. */
export interface FailNextOptions extends LockTestingTarget {
  /**
   * The lock whose requests fail.
   *
   * @defaultValue any
   */
  name?: string;
  /**
   * The verbs of the requests that fail. A renewal is an `update` or, while others wait, a `patch`.
   *
   * @defaultValue any
   */
  verb?: LockTestingVerb | readonly LockTestingVerb[];
  /**
   * How many requests fail.
   *
   * @defaultValue 1
   */
  times?: number;
}

const VERBS = ['get', 'list', 'create', 'update', 'patch', 'delete'] as const;

/** The verb of a request for a Lease. */
export type LockTestingVerb = (typeof VERBS)[number];

const isCount = (value: unknown): boolean =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0;

const TARGET_RULES: Record<keyof LockTestingTarget, Rule> = {
  namespace: LOCK_RULES.namespace,
  slot: [
    `must be a whole number from 0 to ${MOST_PERMITS - 1}`,
    (value) => isCount(value) && Number(value) < MOST_PERMITS,
  ],
};

const FAIL_NEXT_RULES: Record<keyof FailNextOptions, Rule> = {
  ...TARGET_RULES,
  name: [
    'must be a non-empty string',
    (value) => typeof value === 'string' && value !== '',
  ],
  verb: [
    `must be one or more of ${VERBS.join(', ')}`,
    (value) =>
      [value].flat().length > 0 &&
      [value].flat().every((verb) => VERBS.some((known) => known === verb)),
  ],
  times: [
    'must be a whole number from 1, or Infinity',
    (value) => value === Infinity || (isCount(value) && value !== 0),
  ],
};

/** The requests with which a holder keeps its lock. */
const OF_HOLDER = ['get', 'update', 'patch', 'delete'] as const;

/**
 * Controls the locks of the applications that use it: a provider of {@link K8sLockTestingModule}. What it
 * does happens in memory, by the rules that locks follow on a cluster.
 *
 * @example
 * const locks = moduleRef.get(LockTestingController);
 * const release = await locks.holdElsewhere('nightly-report');
 * await reports.nightly();
 * locks.assertSkipped('nightly-report', 'held');
 * await release();
 */
export class LockTestingController {
  private readonly cluster = new TestingCluster();
  private readonly recorded: LockEvent[] = [];
  private otherPod: LockEngine | undefined;

  /**
   * What the LockServices of the applications run on.
   *
   * @internal
   */
  readonly backend: LockBackend = {
    connect: (client, options) => {
      client.events.events$.subscribe({
        next: (event) => this.recorded.push(event),
        complete: () => this.cluster.clients.delete(client),
      });
      return this.cluster.connect(client, options);
    },
  };

  /**
   * Called by Nest. When the last application closes, time goes on and no request fails any more, so that it
   * can wait for its work and release its locks; and the other pod goes, so that nothing keeps the process alive.
   *
   * @internal
   */
  async onModuleDestroy(): Promise<void> {
    const { cluster, otherPod } = this;
    if (cluster.clients.size <= 1) {
      cluster.clock.start();
      cluster.heal();
      this.otherPod = undefined;
      await otherPod?.shutdown(0);
    }
  }

  /** The events of all locks so far, oldest first. */
  get events(): readonly LockEvent[] {
    return this.recorded;
  }

  /** Forgets the events so far. */
  clearEvents(): void {
    this.recorded.length = 0;
  }

  /**
   * Moves the time of locks ahead at once: renewals, deadlines, `waitTimeout`, `maxHold`, `minHold` and
   * retries that fall into it happen in their order. Timers of other code do not: see the fake timers of your
   * test runner, under which locks are in fake time.
   *
   * @param milliseconds how far
   */
  async advance(milliseconds: number): Promise<void> {
    if (!Number.isFinite(milliseconds) || milliseconds < 0) {
      throw new TypeError(
        `advance() needs a number of milliseconds, 0 or more, not ${String(milliseconds)}`,
      );
    }
    await this.cluster.clock.advance(milliseconds);
  }

  /** Stops the time of locks: from now on it moves only by {@link advance}. */
  stopTime(): void {
    this.cluster.clock.stop();
  }

  /**
   * Takes a free lock in another pod, which renews it until it is released.
   *
   * @returns a function that releases it
   * @throws Error if the lock is not free
   */
  async holdElsewhere(
    name: string,
    target: LockTestingTarget = {},
  ): Promise<() => Promise<void>> {
    const { lock, options } = await this.locate('holdElsewhere', name, target);
    const { namespace } = options;
    const held = await this.elsewhere.acquireOrSkip({
      lock,
      options: { ...resolveLockOptions(), namespace },
      mode: 'try',
      skips: ['held'],
    });
    if (held === undefined) {
      throw new Error(
        `Lock ${quote(name)} can't be held elsewhere, since it is held by ${this.holderOf(lock)}: use stealFrom(), or release it first`,
      );
    }
    return () => held.release();
  }

  /**
   * Gives a held lock to another pod, as a person does with `kubectl edit`: the holder loses it with the reason
   * `taken`. Resolves when the holder knows.
   *
   * @returns a function that releases the lock, which until then stays with the other pod
   * @throws Error if the lock is free
   */
  async stealFrom(
    name: string,
    target: LockTestingTarget = {},
  ): Promise<() => Promise<void>> {
    const { lock } = await this.locate('stealFrom', name, target);
    const { clock } = this.cluster;
    const store = this.cluster.storeFor();
    const key = keyOf(lock);
    const identity = newHolderIdentity('elsewhere');
    try {
      const held = this.requireHeld(name, key, 'use holdElsewhere()');
      const thief = { identity, leaseDuration: Infinity, lockName: name };
      await store.replace(key, take(held, thief, clock));
      await this.showEverybody(name, target);
    } finally {
      store.close();
    }
    return async () => {
      const after = this.cluster.storeFor();
      const lease = await after.get(key);
      if (isHeldBy(lease, identity)) {
        await after.replace(key, release(lease));
      }
      after.close();
    };
  }

  /**
   * Cuts the holder of a lock off from the API server until its lease has expired, for which the time of locks
   * moves ahead by the lease duration: the holder loses the lock with the reason `deadline`, and others may
   * take it. All other locks are renewed meanwhile.
   *
   * @throws Error if the lock is free, or does not expire
   */
  async expireNow(name: string, target: LockTestingTarget = {}): Promise<void> {
    const { lock } = await this.locate('expireNow', name, target);
    const key = keyOf(lock);
    const held = readHolder(this.requireHeld(name, key, 'nothing can expire'));
    const { holder, duration } = held.held
      ? held
      : { holder: '', duration: undefined };
    if (duration === undefined) {
      throw new Error(
        `Lock ${quote(name)} does not expire by itself (leaseDuration: 'infinite', renewal: 'session' or stealFrom()): use stealFrom(), or release it`,
      );
    }
    await this.showEverybody(name, target);
    const reconnect = this.cluster.plan({
      failure: 'network',
      key,
      verbs: OF_HOLDER,
      clientId: holder.slice(0, holder.lastIndexOf('_')),
      times: Infinity,
    });
    await this.cluster.clock.advance(duration + 1);
    reconnect();
  }

  /**
   * Lets the next requests of the application for Leases fail.
   *
   * @returns a function that lets the rest of them succeed
   * @example
   * locks.failNext('unavailable', { name: 'import', verb: 'update', times: 3 });
   */
  failNext(
    failure: LockTestingFailure,
    options: FailNextOptions = {},
  ): () => void {
    if (!FAILURES.includes(failure)) {
      throwFaults([
        `the failure must be one of ${FAILURES.join(', ')}, not ${describeValue(failure)}`,
      ]);
    }
    checkOptions('failNext', options, FAIL_NEXT_RULES);
    const { name, namespace, slot = 0, verb, times = 1 } = options;
    const client = this.requireClient();
    return this.cluster.plan({
      failure,
      key: {
        namespace,
        name:
          name === undefined
            ? undefined
            : slotLeaseName(client.leaseNameOf(name), slot),
      },
      ...(verb !== undefined && { verbs: [verb].flat() }),
      times,
    });
  }

  /**
   * Asserts that a decorated method, or a handler under `LeaseLockInterceptor()`, ran once.
   *
   * @param what `Class.method`, or the name of its lock
   * @throws AssertionError that lists what happened
   */
  assertRanOnce(what: string): void {
    this.assertRan(what, 1);
  }

  /** As {@link assertRanOnce}, for any number of times. */
  assertRan(what: string, times: number): void {
    if (!isCount(times)) {
      throwFaults([
        `the number of runs must be a whole number from 0, not ${describeValue(times)}`,
      ]);
    }
    const events = this.eventsOf(what);
    const runs = new Map<string, number>();
    for (const { type, name } of events) {
      if (type === 'executed' || type === 'failed') {
        runs.set(name, (runs.get(name) ?? 0) + 1);
      }
    }
    // A method under several locks has one event for each.
    const actual = Math.max(0, ...runs.values());
    if (actual !== times) {
      throw new AssertionError({
        message: `${quote(what)} ran ${timesOf(actual)}, not ${timesOf(times)}. ${this.tell(events)}`,
        actual,
        expected: times,
        operator: 'assertRan',
      });
    }
  }

  /**
   * Asserts that a call was skipped: it ended without the lock and without an error.
   *
   * @param what `Class.method`, or a lock name
   * @param reason why; by default for any reason
   * @throws AssertionError that lists what happened
   */
  assertSkipped(what: string, reason?: LockSkippedReason): void {
    const events = this.eventsOf(what);
    const reasons = events.flatMap((event) =>
      event.type === 'skipped' ? [event.reason] : [],
    );
    const isSkipped =
      reason === undefined ? reasons.length > 0 : reasons.includes(reason);
    if (!isSkipped) {
      const asked = reason === undefined ? '' : ` because of ${quote(reason)}`;
      throw new AssertionError({
        message: `${quote(what)} was not skipped${asked}. ${this.tell(events)}`,
        actual: reasons,
        expected: reason === undefined ? ['any reason'] : [reason],
        operator: 'assertSkipped',
      });
    }
  }

  private eventsOf(what: string): LockEvent[] {
    return this.recorded.filter(
      ({ name, method }) => name === what || method === what,
    );
  }

  private tell(events: readonly LockEvent[]): string {
    if (events.length > 0) {
      return `What happened:\n${events.map((event) => `  ${describe(event)}`).join('\n')}`;
    }
    const known = this.recorded.flatMap(({ name, method }) =>
      method === undefined ? [name] : [method, name],
    );
    return known.length === 0
      ? 'Nothing happened to any lock.'
      : `No event names it; the events name ${[...new Set(known)].map(quote).join(', ')}.`;
  }

  private async locate(
    method: string,
    name: string,
    target: LockTestingTarget,
  ): Promise<ResolvedLock> {
    checkCall(method, { name, options: {} });
    checkOptions(method, target, TARGET_RULES);
    return resolve(this.requireClient(), name, target);
  }

  private requireClient(): LockClient {
    const [client] = this.cluster.clients;
    if (client === undefined) {
      throw new Error(
        'no application uses this LockTestingController: import K8sLockTestingModule.forRoot(), or forApplication() beside the module of the application, and compile the testing module first. After the application has closed, make a new one',
      );
    }
    return client;
  }

  private requireHeld(
    name: string,
    key: LeaseKey,
    advice: string,
  ): StoredLease {
    const lease = this.cluster.storage.get(key)?.lease;
    if (lease === undefined || !readHolder(lease).held) {
      throw new Error(
        `Lock ${quote(name)} (Lease ${key.namespace}/${key.name}) is free: ${advice}`,
      );
    }
    return lease;
  }

  private holderOf(lock: { namespace: string; leaseName: string }): string {
    const lease = this.cluster.storage.get(keyOf(lock))?.lease;
    return lease?.spec?.holderIdentity ?? 'another call';
  }

  /** Every client reads the record: holders learn of a loss, and the count of expiry begins. */
  private async showEverybody(
    name: string,
    target: LockTestingTarget,
  ): Promise<void> {
    await this.cluster.withoutFailures(() =>
      Promise.all(
        Array.from(this.cluster.clients, async (client) => {
          const { lock } = await resolve(client, name, target);
          await client.engine.read(lock);
        }),
      ),
    );
  }

  /** Another pod. */
  private get elsewhere(): LockEngine {
    this.otherPod ??= new LockEngine({
      store: this.cluster.storeFor(),
      clock: this.cluster.clock,
      clientId: 'elsewhere',
      requestTimeout: 5_000,
      emit: () => undefined,
    });
    return this.otherPod;
  }
}

async function resolve(
  client: LockClient,
  name: string,
  { slot = 0, ...target }: LockTestingTarget,
): Promise<ResolvedLock> {
  const { lock, options } = await client.resolve(name, target);
  const leaseName = slotLeaseName(lock.leaseName, slot);
  return { lock: { ...lock, leaseName }, options };
}

/** @throws LockConfigurationError that names every fault */
function checkOptions(
  method: string,
  options: object,
  rules: Record<string, Rule>,
): void {
  const faults = findObjectFaults(`the options of ${method}()`, options);
  throwFaults(faults.length > 0 ? faults : findFaults(options, rules));
}

function keyOf(lock: { namespace: string; leaseName: string }): LeaseKey {
  return { namespace: lock.namespace, name: lock.leaseName };
}

function timesOf(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

/** One line for an event. */
function describe(event: LockEvent): string {
  const { type, name, method } = event;
  const reason = 'reason' in event ? ` (${event.reason})` : '';
  const holder =
    'holder' in event && type !== 'acquired' ? `, held by ${event.holder}` : '';
  const by = method === undefined ? '' : ` by ${method}`;
  return `${type}${reason}: lock ${quote(name)}${by}${holder}`;
}
