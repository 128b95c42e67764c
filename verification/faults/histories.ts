/** Reconstructs the history of each Lease, write by write, from the observed requests. */
import type { Belief } from '../beliefs/belief-log.js';
import { KUBECTL, type LeaseRecord, type LeaseWrite } from './evidence.js';
import { isApplied } from './lease-write.js';
import { grantedFor, ticketKey, ticketsIn, type Ticket } from './line.js';

/** The greatest int32: a lease that does not expire. */
const INFINITE_SECONDS = 2_147_483_647;

export class Histories {
  /** By Lease and resourceVersion: the write that made it. */
  private readonly made = new Map<string, LeaseWrite>();
  /** By Lease and holder: the writes by which it ceased to be the holder. */
  private readonly endings = new Map<string, LeaseWrite[]>();
  /** By Lease and version: the version before, of which somebody knows. */
  private readonly versionsBefore = new Map<string, bigint>();
  /** By Lease and name of the annotation: every ticket that anybody has sent. */
  private readonly tickets = new Map<string, Ticket>();

  /** Of all Leases: the writes that have freed or deleted them, or may have. */
  private readonly freeing: readonly LeaseWrite[];

  constructor(writes: readonly LeaseWrite[]) {
    this.freeing = writes.filter(
      (write) =>
        (isApplied(write) || write.status === undefined) &&
        holderOf(write.stored ?? write.sent) === '',
    );
    for (const { lease, change } of writes) {
      for (const ticket of ticketsIn(change?.added)) {
        this.tickets.set(`${lease} ${ticket.key}`, ticket);
      }
    }
    const applied = writes.filter(isApplied);
    // A write that changes nothing keeps the version of the record, which another write has made. A PUT says so.
    for (const write of [
      ...applied.filter((each) => !isOfLine(each)),
      ...applied.filter(isOfLine),
    ]) {
      const version = write.stored?.metadata.resourceVersion;
      const key = `${write.lease} ${version}`;
      if (
        version !== undefined &&
        version !== write.basedOn.resourceVersion &&
        !(isOfLine(write) && this.made.has(key))
      ) {
        this.made.set(key, write);
      }
    }
    this.noteOrder();
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
   * The write whose record this one has replaced: the API server has seen to it that it was that one, or, for
   * a patch, that its spec was that one's. Undefined: there was none, or nobody saw it.
   */
  before(write: LeaseWrite): LeaseWrite | undefined {
    const { lease, basedOn, change, stored } = write;
    if (change === undefined) {
      return this.findByVersion(lease, basedOn.resourceVersion);
    }
    const spec = change.isOfLine ? stored?.spec : change.tested;
    const last = this.lastKnown(write);
    return JSON.stringify(spec ?? null) === specOf(last?.stored)
      ? last
      : undefined;
  }

  /** As far as it is known: a patch says itself what spec it has found. */
  recordBefore(write: LeaseWrite): LeaseRecord | undefined {
    const { lease: name, basedOn, change } = write;
    const before = this.before(write)?.stored;
    return (before ?? change?.tested === undefined)
      ? before
      : { metadata: { name, uid: basedOn.uid }, spec: change.tested };
  }

  /** Undefined: not known. */
  holderBefore(write: LeaseWrite): string | undefined {
    const { verb, change, stored } = write;
    const record = change?.isOfLine ? stored : this.recordBefore(write);
    return verb === 'create' ? '' : record && holderOf(record);
  }

  /** R11: the tickets that a write has added and removed, as far as that is known. */
  changeOfLine(write: LeaseWrite): Record<'added' | 'removed', Ticket[]> {
    const { lease, change, stored } = write;
    if (change !== undefined) {
      return {
        added: ticketsIn(change.added),
        removed: change.removed.flatMap(
          (key) => this.tickets.get(`${lease} ${key}`) ?? [],
        ),
      };
    }
    const before = this.before(write)?.stored ?? stored;
    const was = ticketsIn(before?.metadata.annotations);
    const is = ticketsIn(stored?.metadata.annotations);
    return { added: without(is, was), removed: without(was, is) };
  }

  /** R11: the ticket of this holder, if it ever sent one. */
  ticketOf(lease: string, holder: string): Ticket | undefined {
    return this.tickets.get(`${lease} ${ticketKey(holder)}`);
  }

  /** The write that made the version before that of this one, of all that somebody saw. */
  private lastKnown({ lease, stored }: LeaseWrite): LeaseWrite | undefined {
    const { uid, resourceVersion } = stored?.metadata ?? {};
    const version = this.versionsBefore.get(`${lease} ${resourceVersion}`);
    const last = this.findByVersion(lease, version);
    return last?.stored?.metadata.uid === uid ? last : undefined;
  }

  private noteOrder(): void {
    const versions = new Map<string, bigint[]>();
    for (const { lease, stored } of this.made.values()) {
      const version = BigInt(stored!.metadata.resourceVersion!);
      const ofLease = versions.get(lease) ?? [];
      ofLease.push(version);
      versions.set(lease, ofLease);
    }
    for (const [lease, ofLease] of versions) {
      const sorted = ofLease.toSorted((a, b) => (a < b ? -1 : 1));
      sorted.forEach((version, index) => {
        if (index > 0) {
          this.versionsBefore.set(`${lease} ${version}`, sorted[index - 1]!);
        }
      });
    }
  }

  /** R12: whether it was certainly not ended by then: nobody had freed or deleted its Lease. */
  isSessionAlive({ name, uid }: SessionReference, at: number): boolean {
    return !this.freeing.some(
      ({ lease, basedOn, forwardedAt }) =>
        lease === name && basedOn.uid === uid && forwardedAt <= at,
    );
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
    const isItsOwn =
      first.verb === 'create' ||
      this.before(first) !== undefined ||
      first.change?.tested !== undefined;
    // A write that nobody saw has made the spec, after the last one that somebody saw.
    return isItsOwn
      ? first.forwardedAt
      : (this.lastKnown(first)?.forwardedAt ?? -Infinity);
  }
}

/** Whether it changes nothing but places in line. */
function isOfLine({ change }: LeaseWrite): boolean {
  return change?.isOfLine === true;
}

function without(some: Ticket[], others: readonly Ticket[]): Ticket[] {
  return some.filter(({ key }) => others.every((other) => other.key !== key));
}

export function holderOf(lease: LeaseRecord | undefined): string {
  return lease?.spec?.holderIdentity ?? '';
}

/** Milliseconds; Infinity = until released. */
export function durationOf(lease: LeaseRecord | undefined): number {
  const granted = grantedFor(lease);
  if (granted !== undefined) {
    return granted;
  }
  const seconds = lease?.spec?.leaseDurationSeconds;
  return typeof seconds === 'number' && seconds < INFINITE_SECONDS
    ? seconds * 1_000
    : Infinity;
}

/** R12: the session under which its holder holds the lock. */
export interface SessionReference {
  readonly name: string;
  readonly uid: string;
}

/** Whether the holder has ended, and the record stays taken for the rest of its minHold. */
export function isKept(record: LeaseRecord): boolean {
  const by = record.metadata.annotations?.['nestjs-k8s-lock/parked-by'];
  return by !== undefined && by === holderOf(record);
}

export function sessionOf(
  lease: LeaseRecord | undefined,
): SessionReference | undefined {
  const { annotations } = lease?.metadata ?? {};
  const [, name, uid, holder] =
    /^(\S+) (\S+) \d+ by (.*)$/s.exec(
      annotations?.['nestjs-k8s-lock/session'] ?? '',
    ) ?? [];
  return name !== undefined && uid !== undefined && holder === holderOf(lease)
    ? { name, uid }
    : undefined;
}

/** By its name, which is known of writes whose record nobody saw. */
export function isSession(lease: string): boolean {
  return lease.startsWith('session-');
}

export function specOf(lease: LeaseRecord | undefined): string {
  return JSON.stringify(lease?.spec ?? null);
}
