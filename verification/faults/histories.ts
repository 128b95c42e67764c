/** Reconstructs the history of each Lease, write by write, from the observed requests. */
import type { Belief } from '../beliefs/belief-log.js';
import { KUBECTL, type LeaseRecord, type LeaseWrite } from './evidence.js';
import { isApplied } from './lease-write.js';

/** The greatest int32: a lease that does not expire. */
const INFINITE_SECONDS = 2_147_483_647;

export class Histories {
  /** By Lease and resourceVersion: the write that made it. */
  private readonly made = new Map<string, LeaseWrite>();
  /** By Lease and holder: the writes by which it ceased to be the holder. */
  private readonly endings = new Map<string, LeaseWrite[]>();

  constructor(writes: readonly LeaseWrite[]) {
    const applied = writes.filter(isApplied);
    for (const write of applied) {
      const version = write.stored?.metadata.resourceVersion;
      // A write that changes nothing keeps the version of the record, which another write has made.
      if (version !== undefined && version !== write.basedOn.resourceVersion) {
        this.made.set(`${write.lease} ${version}`, write);
      }
    }
    // What was done by hand and never answered may have been applied: nobody is to suffer for it.
    const unknown = writes.filter(
      ({ author, status }) => author === KUBECTL && status === undefined,
    );
    for (const write of [...applied, ...unknown]) {
      const from = this.holderBefore(write) ?? '';
      if (from !== '' && from !== holderOf(write.stored ?? write.sent)) {
        const key = `${write.lease} ${from}`;
        this.endings.set(key, [...(this.endings.get(key) ?? []), write]);
      }
    }
  }

  findByVersion(
    lease: string,
    version: bigint | string | undefined,
  ): LeaseWrite | undefined {
    return this.made.get(`${lease} ${version}`);
  }

  /**
   * The write whose record this one has replaced: the API server has seen to it that it was that one.
   * Undefined: there was none, or nobody saw it.
   */
  before({ lease, basedOn }: LeaseWrite): LeaseWrite | undefined {
    return this.findByVersion(lease, basedOn.resourceVersion);
  }

  /** Undefined: not known. */
  holderBefore(write: LeaseWrite): string | undefined {
    return write.verb === 'create'
      ? ''
      : this.before(write) && holderOf(this.before(write)?.stored);
  }

  /** The writes by which this holder ceased to be the holder. */
  displacements(lease: string, holder: string): readonly LeaseWrite[] {
    return this.endings.get(`${lease} ${holder}`) ?? [];
  }

  /** Those by hand, since the write by which the lock was acquired. */
  robberies({ lock, holding, token = 0n }: Belief): readonly LeaseWrite[] {
    return this.displacements(lock, holding).filter(
      ({ author, basedOn }) =>
        author === KUBECTL && BigInt(basedOn.resourceVersion ?? 0) >= token,
    );
  }

  /** The time before which the spec of the record that `write` made was not there. */
  specSince(write: LeaseWrite): number {
    let first = write;
    for (
      let before = this.before(first);
      before && specOf(before.stored) === specOf(write.stored);
      before = this.before(first)
    ) {
      first = before;
    }
    return first.forwardedAt;
  }
}

export function holderOf(lease: LeaseRecord | undefined): string {
  return lease?.spec?.holderIdentity ?? '';
}

/** Milliseconds; Infinity = until released. */
export function durationOf(lease: LeaseRecord | undefined): number {
  const seconds = lease?.spec?.leaseDurationSeconds;
  return typeof seconds === 'number' && seconds < INFINITE_SECONDS
    ? seconds * 1_000
    : Infinity;
}

export function specOf(lease: LeaseRecord | undefined): string {
  return JSON.stringify(lease?.spec ?? null);
}
