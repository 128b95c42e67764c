/**
 * A peer that follows client-go's leader election on a Lease to the letter (tools/leaderelection):
 * its LeaderElector, over its LeaseLock.
 */
import type { LeaseSpec, StoredLease } from '../../lib/kube/lease-store.js';
import type { Machine } from './machine.js';
import {
  countSession,
  microTimeOf,
  Peer,
  requestFailure,
  type PeerOptions,
} from './peer.js';
import type { Random } from './random.js';
import type { World } from './world.js';

/** rl.LeaderElectionRecord; times are milliseconds since the epoch. */
interface ElectionRecord {
  readonly holderIdentity: string;
  readonly leaseDurationSeconds: number;
  readonly acquireTime: number | undefined;
  readonly renewTime: number | undefined;
  readonly leaderTransitions: number;
}

const JITTER_FACTOR = 1.2;

export class ClientGoPeer extends Peer {
  private readonly retryPeriod: number;
  private readonly renewDeadline: number;

  constructor(
    world: World,
    machine: Machine,
    random: Random,
    options: PeerOptions,
  ) {
    super(world, machine, 'client-go', random, options);
    // The proportions of client-go's defaults.
    this.renewDeadline = (options.leaseDuration * 2) / 3;
    this.retryPeriod = (options.leaseDuration * 2) / 15;
  }

  protected async term(identity: string): Promise<void> {
    const { machine, random, options } = this;
    const context = new AbortController();
    const endAfter = random.magnitude(50, 8 * options.leaseDuration);
    void machine.sleep(endAfter).then(() => context.abort());
    const elector = new LeaderElector(
      this.world,
      machine,
      random,
      this.store,
      identity,
      {
        ...options,
        renewDeadline: this.renewDeadline,
        retryPeriod: this.retryPeriod,
      },
    );
    if (await elector.acquire(context.signal)) {
      this.world.statistics.count('peer acquisitions');
      this.say(() => `leads as ${identity}`);
      await elector.renew(context.signal, random.chance(0.5));
      this.say(() => `leads no more as ${identity}`);
    }
  }
}

class LeaderElector {
  private observedRecord: ElectionRecord | undefined;
  private observedRawRecord = '';
  private observedTime = 0;
  /** LeaseLock.lease: what the next Update is based on. */
  private lease: StoredLease | undefined;

  constructor(
    private readonly world: World,
    private readonly machine: Machine,
    private readonly random: Random,
    private readonly store: Peer['store'],
    private readonly identity: string,
    private readonly config: PeerOptions & {
      renewDeadline: number;
      retryPeriod: number;
    },
  ) {}

  /** wait.JitterUntil(tryAcquireOrRenew, RetryPeriod, JitterFactor). */
  async acquire(context: AbortSignal): Promise<boolean> {
    const { retryPeriod } = this.config;
    // oxlint-disable no-await-in-loop -- one try after the other
    while (!context.aborted && !this.world.isHealed) {
      if (await this.tryAcquireOrRenew(context)) {
        return true;
      }
      await this.machine.sleep(
        retryPeriod * (1 + this.random.next() * JITTER_FACTOR),
      );
    }
    // oxlint-enable no-await-in-loop
    return false;
  }

  /** wait.Until(PollUntilContextTimeout(tryAcquireOrRenew, RetryPeriod, RenewDeadline), RetryPeriod). */
  async renew(context: AbortSignal, releaseOnCancel: boolean): Promise<void> {
    const { retryPeriod } = this.config;
    // oxlint-disable no-await-in-loop -- one try after the other
    while (!context.aborted && !this.world.isHealed) {
      if (!(await this.renewUntilDeadline(context))) {
        break;
      }
      await this.machine.sleep(retryPeriod);
    }
    // oxlint-enable no-await-in-loop
    if (releaseOnCancel) {
      const timeout = new AbortController();
      void this.machine
        .sleep(this.config.renewDeadline)
        .then(() => timeout.abort());
      await this.tryRelease(timeout.signal);
    }
  }

  private async renewUntilDeadline(context: AbortSignal): Promise<boolean> {
    const timeout = new AbortController();
    const cancel = (): void => timeout.abort();
    context.addEventListener('abort', cancel, { once: true });
    void this.machine.sleep(this.config.renewDeadline).then(cancel);
    let isRenewed = false;
    // oxlint-disable no-await-in-loop -- one try after the other
    while (!isRenewed && !timeout.signal.aborted) {
      isRenewed = await this.tryAcquireOrRenew(timeout.signal);
      if (!isRenewed) {
        await this.machine.sleep(this.config.retryPeriod);
      }
    }
    // oxlint-enable no-await-in-loop
    context.removeEventListener('abort', cancel);
    return isRenewed;
  }

  private async tryAcquireOrRenew(signal: AbortSignal): Promise<boolean> {
    const now = this.machine.wallMilliseconds();
    const record: ElectionRecord = {
      holderIdentity: this.identity,
      leaseDurationSeconds: Math.trunc(this.config.leaseDuration / 1_000),
      acquireTime: now,
      renewTime: now,
      leaderTransitions: 0,
    };
    // 1. fast path for the leader
    if (this.isLeader && this.isLeaseValid()) {
      const { acquireTime, leaderTransitions } = this.observedRecord!;
      if (
        await this.update({ ...record, acquireTime, leaderTransitions }, signal)
      ) {
        return true;
      }
    }
    // 2. obtain or create the record
    let old: ElectionRecord;
    try {
      const lease = await this.store.get(this.key, { signal });
      if (lease === undefined) {
        return await this.create(record, signal);
      }
      this.lease = lease;
      old = recordOf(lease.spec ?? {});
    } catch (error) {
      requestFailure(error);
      return false;
    }
    // 3. check the identity and the time
    const raw = rawRecordOf(old);
    if (raw !== this.observedRawRecord) {
      this.observe(old);
      this.observedRawRecord = raw;
    }
    if (old.holderIdentity !== '' && this.isLeaseValid() && !this.isLeader) {
      countSession(this.world, 'client-go', this.lease);
      return false;
    }
    // 4. try to update
    return this.update(
      this.isLeader
        ? {
            ...record,
            acquireTime: old.acquireTime,
            leaderTransitions: old.leaderTransitions,
          }
        : { ...record, leaderTransitions: old.leaderTransitions + 1 },
      signal,
    );
  }

  /** It asks whether it is the leader by what it last observed, not by what it has just read. */
  private async tryRelease(signal: AbortSignal): Promise<void> {
    for (;;) {
      // oxlint-disable no-await-in-loop -- one try after the other
      let old: ElectionRecord;
      try {
        const lease = await this.store.get(this.key, { signal });
        if (lease === undefined) {
          return;
        }
        this.lease = lease;
        old = recordOf(lease.spec ?? {});
      } catch (error) {
        requestFailure(error);
        return;
      }
      if (!this.isLeader) {
        return;
      }
      const now = this.machine.wallMilliseconds();
      const record: ElectionRecord = {
        holderIdentity: '',
        leaseDurationSeconds: 1,
        acquireTime: now,
        renewTime: now,
        leaderTransitions: old.leaderTransitions,
      };
      try {
        await this.put(record, signal);
        this.observe(record);
        return;
      } catch (error) {
        if (requestFailure(error).reason !== 'conflict') {
          return;
        }
      }
      // oxlint-enable no-await-in-loop
    }
  }

  private get key(): { namespace: string; name: string } {
    const { namespace, leaseName } = this.config.lock;
    return { namespace, name: leaseName };
  }

  private get isLeader(): boolean {
    return this.observedRecord?.holderIdentity === this.identity;
  }

  private isLeaseValid(): boolean {
    const { leaseDurationSeconds = 0 } = this.observedRecord ?? {};
    return (
      this.observedTime + leaseDurationSeconds * 1_000 >
      this.machine.localTime()
    );
  }

  private observe(record: ElectionRecord): void {
    this.observedRecord = record;
    this.observedTime = this.machine.localTime();
  }

  private async create(
    record: ElectionRecord,
    signal: AbortSignal,
  ): Promise<boolean> {
    try {
      this.lease = await this.store.create(
        this.key,
        { metadata: this.key, spec: specOf(record) },
        { signal },
      );
      this.observe(record);
      return true;
    } catch (error) {
      requestFailure(error);
      return false;
    }
  }

  private async update(
    record: ElectionRecord,
    signal: AbortSignal,
  ): Promise<boolean> {
    try {
      await this.put(record, signal);
      this.observe(record);
      return true;
    } catch (error) {
      requestFailure(error);
      return false;
    }
  }

  private async put(
    record: ElectionRecord,
    signal: AbortSignal,
  ): Promise<void> {
    this.lease = { ...this.lease!, spec: specOf(record) };
    this.lease = await this.store.replace(this.key, this.lease, { signal });
  }
}

/** LeaseSpecToLeaderElectionRecord: what is missing becomes Go's zero value. */
function recordOf(spec: LeaseSpec): ElectionRecord {
  return {
    holderIdentity: spec.holderIdentity ?? '',
    leaseDurationSeconds: spec.leaseDurationSeconds ?? 0,
    acquireTime: parseTime(spec.acquireTime),
    renewTime: parseTime(spec.renewTime),
    leaderTransitions: spec.leaseTransitions ?? 0,
  };
}

/** LeaderElectionRecordToLeaseSpec; a time that is zero becomes null in JSON. */
function specOf(record: ElectionRecord): LeaseSpec {
  const { acquireTime, renewTime } = record;
  return {
    holderIdentity: record.holderIdentity,
    leaseDurationSeconds: record.leaseDurationSeconds,
    acquireTime: acquireTime === undefined ? null : microTimeOf(acquireTime),
    renewTime: renewTime === undefined ? null : microTimeOf(renewTime),
    leaseTransitions: record.leaderTransitions,
  };
}

/** The JSON of the record, in which metav1.Time has whole seconds. */
function rawRecordOf(record: ElectionRecord): string {
  return JSON.stringify([
    record.holderIdentity,
    record.leaseDurationSeconds,
    wholeSeconds(record.acquireTime),
    wholeSeconds(record.renewTime),
    record.leaderTransitions,
  ]);
}

function parseTime(time: string | null | undefined): number | undefined {
  return time ? Date.parse(time) : undefined;
}

function wholeSeconds(time: number | undefined): number | undefined {
  return time === undefined ? undefined : Math.floor(time / 1_000);
}
