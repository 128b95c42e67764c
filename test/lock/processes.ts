/** Processes that compete for locks: each with an engine, a store and the events it emitted. */
import {
  resolveLockOptions,
  type LockOptions,
} from '../../lib/k8s-lock.options.js';
import type {
  Lease,
  LeaseKey,
  LeaseSpec,
  LeaseStore,
  StoredLease,
} from '../../lib/kube/lease-store.js';
import type { LockReference } from '../../lib/lock.errors.js';
import type { LockEvent } from '../../lib/lock.events.js';
import type { AcquireMode } from '../../lib/lock/acquire/wait-policy.js';
import type { Clock } from '../../lib/lock/clock.js';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { LockEngine } from '../../lib/lock/lock-engine.js';
import { isSession } from '../../lib/lock/record/session.js';
import { LeaseApi } from '../../lib/testing/lease-api.js';
import { LeaseStorage } from '../../lib/testing/lease-storage.js';
import { ControlledClock } from './controlled-clock.js';
import { MemoryLeaseStore } from './memory-lease-store.js';

/** The lock that most tests are about: with its defaults it expires after 15 s and its holder gives up after 13.5 s. */
export const JOB = 'job';

export const keyOf = (name: string): LeaseKey => ({
  namespace: 'default',
  name,
});

const referenceOf = (name: string): LockReference => ({
  name,
  namespace: 'default',
  leaseName: name,
});

export class LockProcess<S extends LeaseStore = LeaseStore> {
  readonly events: LockEvent[] = [];
  readonly engine: LockEngine;

  constructor(
    readonly store: S,
    readonly clock: Clock,
    readonly clientId: string,
    {
      requestTimeout = 5_000,
      session,
    }: { requestTimeout?: number; session?: LockOptions } = {},
  ) {
    this.engine = new LockEngine(
      {
        store,
        clock,
        clientId,
        requestTimeout,
        emit: (event) => this.events.push(event),
      },
      session && resolveLockOptions(session),
    );
  }

  /** Waits for the lock. */
  acquire(
    name = JOB,
    options: LockOptions = {},
    signal?: AbortSignal,
  ): Promise<LeaseLock> {
    return this.run('wait', name, options, signal);
  }

  /** Takes it if it is free. */
  try(name = JOB, options: LockOptions = {}): Promise<LeaseLock> {
    return this.run('try', name, options);
  }

  /** Takes it if it is free, or if its holder turns out to be dead. */
  skip(
    name = JOB,
    options: LockOptions = {},
    signal?: AbortSignal,
  ): Promise<LeaseLock> {
    return this.run('skip', name, options, signal);
  }

  /** Waits for a lock whose Lease is named otherwise. */
  acquireAs(name: string, leaseName: string): Promise<LeaseLock> {
    return this.engine.acquire({
      lock: { ...referenceOf(name), leaseName },
      options: resolveLockOptions(),
      mode: 'wait',
    });
  }

  observe(name = JOB): void {
    this.engine.observe(referenceOf(name));
  }

  inspect(name = JOB) {
    return this.engine.inspect(referenceOf(name));
  }

  forceRelease(name = JOB) {
    return this.engine.forceRelease(referenceOf(name));
  }

  /** The types of the events so far, oldest first. */
  eventTypes(): string {
    return this.events.map(({ type }) => type).join(' ');
  }

  private run(
    mode: AcquireMode,
    name: string,
    options: LockOptions,
    signal?: AbortSignal,
  ): Promise<LeaseLock> {
    return this.engine.acquire({
      lock: referenceOf(name),
      options: resolveLockOptions(options),
      mode,
      signal,
    });
  }
}

/** Processes on one clock and one storage; nothing happens but what the test lets happen. */
export class Cluster {
  readonly clock = new ControlledClock();
  readonly storage = new LeaseStorage({
    firstVersion: 990n,
    historySize: 1_000,
    coordinatedLeaderElection: true,
  });

  private readonly api = new LeaseApi(this.storage, undefined);

  /** `clock`: that of the machine on which it runs; by default all have the same. */
  process(
    clientId: string,
    clock: Clock = this.clock,
    options: { session?: LockOptions } = {},
  ): LockProcess<MemoryLeaseStore> {
    const store = new MemoryLeaseStore(this.storage, clock, this.clock);
    return new LockProcess(store, clock, clientId, options);
  }

  /** The Leases of sessions. */
  sessions(): StoredLease[] {
    return this.storage
      .list('default')
      .map(({ lease }) => structuredClone(lease))
      .filter(isSession);
  }

  lease(name = JOB): StoredLease | undefined {
    return structuredClone(this.storage.get(keyOf(name))?.lease);
  }

  spec(name = JOB): LeaseSpec {
    return this.lease(name)?.spec ?? {};
  }

  /** Who the record says holds the lock, without the nonce; undefined: nobody. */
  holder(name = JOB): string | undefined {
    return this.spec(name).holderIdentity?.replace(/_[-0-9a-f]{36}$/, '');
  }

  /** Writes a record as some other client of the API would, whatever was there before. */
  write(change: (lease: Lease) => void, name = JOB): StoredLease {
    const key = keyOf(name);
    const lease: Lease = this.lease(name) ?? { metadata: { ...key } };
    lease.spec ??= {};
    change(lease);
    const request = {
      namespace: key.namespace,
      query: new URLSearchParams(),
      contentType: 'application/json',
      body: JSON.stringify(lease),
    };
    const { body } = this.storage.get(key)
      ? this.api.update({ ...request, name })
      : this.api.create(request);
    const written: StoredLease = JSON.parse(body);
    return written;
  }

  /** Writes the spec of a record as some other client of the API would. */
  writeSpec(spec: LeaseSpec, name = JOB): StoredLease {
    return this.write((lease) => {
      lease.spec = spec;
    }, name);
  }

  delete(name = JOB): void {
    this.storage.delete(keyOf(name));
  }
}

/** A record of a holder that nobody knows anything about: it may be alive or dead. */
export const foreignSpec = (more: LeaseSpec = {}): LeaseSpec => ({
  holderIdentity: 'stranger',
  leaseDurationSeconds: 15,
  acquireTime: '2026-01-01T00:00:00.000000Z',
  renewTime: '2026-01-01T00:00:00.000000Z',
  leaseTransitions: 7,
  ...more,
});

/** What became of a promise so far; it counts as handled. */
export interface Outcome<T> {
  state: 'pending' | 'resolved' | 'rejected';
  value?: T;
  reason?: unknown;
}

export function outcomeOf<T>(promise: Promise<T>): Outcome<T> {
  const outcome: Outcome<T> = { state: 'pending' };
  promise.then(
    (value) => Object.assign(outcome, { state: 'resolved', value }),
    (reason: unknown) => Object.assign(outcome, { state: 'rejected', reason }),
  );
  return outcome;
}
