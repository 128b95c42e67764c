/** Judges every write at the moment at which it is applied, by true time and by who holds what. */
import type { Lease, StoredLease } from '../../lib/kube/lease-store.js';
import { isLine } from '../../lib/lock/lease-name.js';
import type { AppliedWrite } from './api-model.js';
import type { Findings } from './findings.js';
import type { Holding, Holdings } from './holdings.js';
import { CLOCK_RATES } from './scenario.js';
import type { Scheduler } from './scheduler.js';
import { isSession, SessionStates, uidOf } from './session-states.js';
import type { Statistics } from './statistics.js';
import type { Timeline } from './timeline.js';

/** Milliseconds: what is lost in adding and dividing times. */
const ROUNDING = 0.01;

/** Who has ended before the record is to be free (`minHold`). */
const RETAINED_BY = 'nestjs-k8s-lock/parked-by';
/** `<milliseconds> <milliseconds> <holder>`: a grant that its holder has not confirmed. */
const GRANT = 'nestjs-k8s-lock/grant';
/** The label that says who is told of the record: `all`, or the end of the identity of the one that was granted the lock. */
const WAKES = 'nestjs-k8s-lock/wakes';
/** `<number> <seconds> <holder>`: a place in line. */
const TICKET = 'line.nestjs-k8s-lock/';

/** The record of one Lease as it has been since its spec last changed. */
interface CurrentRecord {
  lease: StoredLease | undefined;
  since: number;
}

export class WriteJudge {
  private readonly records = new Map<string, CurrentRecord>();
  /** By holder identity: each time it became the holder, and the versions of the writes that kept it so. */
  private readonly acquisitions = new Map<string, bigint[][]>();
  /** Identities whose record was overwritten by others or deleted. */
  private readonly displaced = new Set<string>();
  private readonly renewTimes = new Set<string>();
  /** Acquisitions, by their first version, that were ended by somebody who may not, or by force. */
  private readonly robbed = new Set<bigint>();
  /** Third parties that may free what is another's. */
  private readonly forcers = new Set<string>();
  readonly sessions = new SessionStates();

  constructor(
    private readonly scheduler: Scheduler,
    private readonly findings: Findings,
    private readonly holdings: Holdings,
    private readonly timeline: Timeline,
    private readonly statistics: Statistics,
  ) {}

  /** This client may take locks away from their holders. */
  allowForce(clientId: string): void {
    this.forcers.add(clientId);
  }

  /** The version at which `identity` became the holder, given a write that made or kept it so. */
  orderOfAcquisition(identity: string, write: bigint): bigint | undefined {
    return this.acquisitions
      .get(identity)
      ?.find((versions) => versions.includes(write))?.[0];
  }

  wasRobbed(order: bigint): boolean {
    return this.robbed.has(order);
  }

  /** Whether the session under which its record is held has ended; true if the record is another's by now. */
  hasLostSession({
    leaseName,
    holderIdentity,
  }: Pick<Holding['handle'], 'leaseName' | 'holderIdentity'>): boolean {
    const { lease } = this.records.get(leaseName) ?? {};
    return (
      holderOf(lease) !== holderIdentity ||
      this.sessions.of(lease)?.end !== undefined
    );
  }

  /** Whether the record names this holder. */
  isHolder({
    leaseName,
    holderIdentity,
  }: Pick<Holding['handle'], 'leaseName' | 'holderIdentity'>): boolean {
    const { lease } = this.records.get(leaseName) ?? {};
    return holderOf(lease) === holderIdentity;
  }

  wasDisplaced(identity: string): boolean {
    return this.displaced.has(identity);
  }

  /** True time from which on somebody could count the record of this holder as expired. */
  expiryOf({ handle }: Holding): number {
    const record = this.records.get(handle.leaseName);
    const spec = record?.lease?.spec;
    if (spec?.holderIdentity !== handle.holderIdentity) {
      return Infinity; // what became of it has been judged when it happened
    }
    const session = this.sessions.of(record?.lease);
    if (session) {
      const { end, renewedAt, duration } = session;
      return end && !end.isGone
        ? end.at
        : (end?.at ?? renewedAt) + duration / CLOCK_RATES.fastest;
    }
    return record!.since + durationOf(record!.lease) / CLOCK_RATES.fastest;
  }

  /**
   * For how long the record of this holder has not changed, and its duration; both in milliseconds.
   * Undefined: it is another's by now, or says that its holder has ended well.
   */
  silenceOf(
    leaseName: string,
    holder: string,
  ): { age: number; duration: number } | undefined {
    const { lease, since } = this.records.get(leaseName) ?? { since: 0 };
    if (holderOf(lease) !== holder || isRetained(lease)) {
      return undefined;
    }
    const { now } = this.scheduler;
    const session = this.sessions.of(lease);
    return session
      ? {
          // Of a session that is gone, the absence counts (R12).
          age:
            now -
            Math.max(
              since,
              session.renewedAt,
              session.end?.isGone ? session.end.at : 0,
            ),
          duration: session.duration,
        }
      : { age: now - since, duration: durationOf(lease) };
  }

  /** Whether some record has had this renewTime: what has none of its own is no renewal. */
  hasSeen(renewTime: string | null | undefined): boolean {
    return this.renewTimes.has(renewTime ?? '');
  }

  /** Etcd was restored from a backup, in which these are the Leases. */
  restored(leases: readonly StoredLease[]): void {
    this.robbed.clear();
    this.sessions.restored(leases, this.scheduler.now);
    this.records.clear();
    for (const lease of leases) {
      this.records.set(lease.metadata.name, {
        lease,
        since: this.scheduler.now,
      });
    }
  }

  judge(write: AppliedWrite): void {
    const { key, before, after, version } = write;
    const from = holderOf(before);
    const to = holderOf(after);
    const record = this.records.get(key.name);
    this.tell(write);
    this.renewTimes.add(after?.spec?.renewTime ?? '');
    if (write.author.kind === 'engine') {
      this.judgeEngine(write, from, to, record);
    }
    this.sessions.written(write, this.scheduler.now);
    if (to !== '') {
      const acquisitions = this.acquisitions.get(to) ?? [];
      if (to === from) {
        acquisitions.at(-1)?.push(version);
      } else {
        this.acquisitions.set(to, [...acquisitions, [version]]);
      }
    }
    if (to !== from) {
      if (from !== '') {
        this.displaced.add(from);
      }
      this.judgeChangeOfHolder(write, from, to);
    }
    if (record === undefined || specOf(before) !== specOf(after)) {
      this.records.set(key.name, {
        lease: after,
        since: this.scheduler.now,
      });
    } else {
      record.lease = after;
    }
  }

  /** Whoever held it must have stopped by now; unless somebody took it away who is no part of the protocol. */
  private judgeChangeOfHolder(
    { author, key }: AppliedWrite,
    from: string,
    to: string,
  ): void {
    // What a peer acquires, it acquires by its rules, which holders must live with. That it frees what
    // is not its own (client-go's release does) is beyond them.
    const isRobbery =
      author.kind === 'third-party' ||
      (author.kind !== 'engine' && to === '') ||
      (author.kind === 'engine' && to === '' && this.isForced(author.name));
    const begin = this.acquisitions.get(from)?.at(-1)?.[0];
    if (isRobbery && begin !== undefined) {
      this.robbed.add(begin);
    }
    for (const holding of this.holdings.current(key.name)) {
      const { holderIdentity } = holding.handle;
      if (holderIdentity !== to && this.holdings.believes(holding)) {
        if (isRobbery) {
          if (holderIdentity === from) {
            holding.robbedAt ??= this.scheduler.now;
            this.statistics.count('robberies');
          }
        } else if (to !== '' && this.holdings.insists(holding)) {
          this.findings.add(
            'aborted-too-late',
            `${key.name} goes to ${this.timeline.nameOf(to)} while ${this.holdings.describe(holding)} believes that it holds it`,
          );
        }
      }
    }
  }

  private judgeEngine(
    write: AppliedWrite,
    from: string,
    to: string,
    record: CurrentRecord | undefined,
  ): void {
    const { verb, before, after } = write;
    if (verb === 'update' && before === undefined) {
      this.accuse(
        'blind-write',
        write,
        'it created again a Lease that had been deleted',
      );
    }
    if (before?.spec?.strategy !== undefined) {
      this.accuse('touched-foreign-record', write, 'R10: it is elected');
    }
    if (before && after) {
      this.judgeMetadata(write, before, after);
      if (specOf(before) === specOf(after)) {
        return;
      }
      this.judgeWakes(write, after);
    }
    if (to === '') {
      this.judgeEnd(write, from);
    } else {
      this.judgeRecord(write, from, to);
      const isGrant = !isOf(to, write);
      if (isGrant) {
        this.judgeGrant(write, from, to);
      } else if (before && from === '' && isSession(before)) {
        this.accuse('touched-foreign-record', write, 'R12: it has ended');
      } else if (from !== '' && from !== to) {
        this.judgeTakeover(write, from, record);
      }
    }
    this.statistics.count(
      to === ''
        ? after === undefined
          ? 'deletions'
          : 'releases'
        : to === from
          ? 'renewals'
          : from === ''
            ? 'acquisitions'
            : isOf(from, write)
              ? isOf(to, write)
                ? 'handovers'
                : 'grants'
              : 'takeovers',
    );
  }

  /** R11: who has ended passes the lock on to somebody who waits in line. */
  private judgeGrant(write: AppliedWrite, from: string, to: string): void {
    const holding = this.holdings.get(from);
    if (!isOf(from, write)) {
      this.accuse('touched-foreign-record', write, 'it is for another');
    } else if (holding && this.holdings.believes(holding)) {
      this.accuse('touched-foreign-record', write, 'it grants what is held');
    } else if (!ticketsOf(write.before).includes(to)) {
      this.accuse('touched-foreign-record', write, 'R11: nobody asked for it');
    } else if (ticketsOf(write.after).includes(to)) {
      this.accuse('malformed-record', write, 'R11: its ticket was left');
    }
  }

  /** R4, R5: free, ended in this process, or expired. */
  private judgeTakeover(
    write: AppliedWrite,
    from: string,
    record: CurrentRecord | undefined,
  ): void {
    const holding = this.holdings.get(from);
    if (isOf(from, write) && !(holding && this.holdings.believes(holding))) {
      return;
    }
    if (uidOf(write.before) !== undefined) {
      this.judgeEndOfSession(write);
      return;
    }
    const elapsed = this.scheduler.now - (record?.since ?? 0);
    const watched = elapsed * (write.author.machine?.rate ?? 1);
    const duration = durationOf(write.before);
    if (watched < duration - ROUNDING) {
      this.accuse(
        'took-held-lock',
        write,
        `the record has stood for ${elapsed.toFixed(2)} ms, of ${duration} ms`,
      );
    }
  }

  /** R12: a lock is taken from a session only if that can't be renewed any more. */
  private judgeEndOfSession(write: AppliedWrite): void {
    const { end, duration } = this.sessions.of(write.before)!;
    const elapsed = this.scheduler.now - (end?.at ?? Infinity);
    const absent = elapsed * (write.author.machine?.rate ?? 1);
    if (end === undefined) {
      this.accuse('took-held-lock', write, 'R12: its session has not ended');
    } else if (end.isGone && absent < duration - ROUNDING) {
      this.accuse(
        'took-held-lock',
        write,
        `R12: its session has been gone for ${elapsed.toFixed(2)} ms, of ${duration} ms`,
      );
    }
    this.statistics.count('takeovers from sessions');
    const by = end?.by ?? '';
    const isEndedByItself = holderOf(write.before).startsWith(`${by}_`);
    if (end?.isGone === false && by !== write.author.name && !isEndedByItself) {
      this.statistics.count('sessions that another taker had ended');
    }
  }

  /** R12: its own process ends a session under which nobody believes in a lock, another one an expired session (R5). */
  private judgeSession(write: AppliedWrite, from: string): void {
    const { before } = write;
    for (const holding of this.holdings.current()) {
      const { lease } = this.records.get(holding.handle.leaseName) ?? {};
      const isUnderIt =
        uidOf(lease) === before?.metadata.uid &&
        holderOf(lease) === holding.handle.holderIdentity;
      if (isUnderIt && this.holdings.insists(holding)) {
        this.accuse(
          'aborted-too-late',
          write,
          `R12: ${this.holdings.describe(holding)} believes that it holds ${holding.handle.leaseName}`,
        );
      }
    }
    if (!isOf(from, write) && before && !this.sessions.isOver(before)) {
      this.statistics.count('sessions ended');
      const record = this.records.get(write.key.name);
      this.judgeTakeover(write, from, record);
    }
  }

  private judgeEnd(write: AppliedWrite, from: string): void {
    if (from === '' || this.isForced(write.author.name)) {
      return;
    }
    if (write.before && isSession(write.before)) {
      this.judgeSession(write, from);
      return;
    }
    const holding = this.holdings.get(from);
    const isUnheard =
      holding === undefined && this.holdings.isClosing(write.author.machine);
    const mayDelete = holding?.mayDelete || isLine(write.key.name);
    if (write.after === undefined && !mayDelete && !isUnheard) {
      this.accuse(
        'touched-foreign-record',
        write,
        'R9: nobody wants it deleted',
      );
    }
    if (!isOf(from, write)) {
      this.accuse(
        'touched-foreign-record',
        write,
        'it frees what is another’s',
      );
    } else if (holding && this.holdings.believes(holding)) {
      this.accuse('touched-foreign-record', write, 'it frees what is held');
    }
  }

  /** R2. */
  private judgeRecord(write: AppliedWrite, from: string, to: string): void {
    const { before, after } = write;
    const spec = after?.spec ?? {};
    const was = before?.spec ?? {};
    const { leaseDurationSeconds: duration = 0 } = spec;
    if (
      !spec.acquireTime ||
      !spec.renewTime ||
      typeof spec.leaseTransitions !== 'number' ||
      duration === null ||
      duration < 1
    ) {
      this.accuse('malformed-record', write, 'R2: a field is missing');
    }
    const transitions = was.leaseTransitions ?? 0;
    const isCounted =
      spec.leaseTransitions === (to === from ? transitions : transitions + 1);
    if (before && !isCounted) {
      this.accuse('malformed-record', write, 'leaseTransitions does not count');
    }
  }

  private judgeMetadata(
    write: AppliedWrite,
    { metadata: before }: StoredLease,
    { metadata: after, spec }: StoredLease,
  ): void {
    for (const field of ['annotations', 'labels'] as const) {
      for (const [name, value] of Object.entries(before[field] ?? {})) {
        if (
          !/^(line\.)?nestjs-k8s-lock\//.test(name) &&
          after[field]?.[name] !== value
        ) {
          this.accuse(
            'malformed-record',
            write,
            `R10: ${name} did not survive`,
          );
        }
      }
    }
    const isFreed = holderOf({ metadata: after, spec }) === '';
    const left = [
      spec?.holderIdentity,
      spec?.acquireTime,
      spec?.renewTime,
      spec?.leaseDurationSeconds,
    ];
    if (
      isFreed &&
      holderOf(write.before) !== '' &&
      left.some((value) => value !== undefined)
    ) {
      this.accuse('malformed-record', write, 'R6: a field was left');
    }
  }

  /** R11: who waits may be told only of records that are selected for it, so that each must say for whom it is. */
  private judgeWakes(
    write: AppliedWrite,
    { metadata, spec }: StoredLease,
  ): void {
    const holder = holderOf({ metadata, spec });
    const wakes = metadata.labels?.[WAKES];
    const isGranted = metadata.annotations?.[GRANT]?.endsWith(` ${holder}`);
    if (wakes === undefined || wakes === 'all') {
      return;
    }
    if (isGranted && holder.endsWith(wakes)) {
      this.statistics.count('grants of which one is told');
    } else {
      this.accuse('malformed-record', write, `R11: it is for ${wakes} alone`);
    }
  }

  private isForced(author: string): boolean {
    return this.forcers.has(author);
  }

  private accuse(
    check: Parameters<Findings['add']>[0],
    { author, verb, key, before, after }: AppliedWrite,
    why: string,
  ): void {
    this.findings.add(
      check,
      `${author.name} (${author.kind}): ${verb} ${key.name} from ${this.show(before)} to ${this.show(after)}: ${why}`,
    );
  }

  private tell({
    author,
    verb,
    key,
    before,
    after,
    version,
  }: AppliedWrite): void {
    this.timeline.add(
      'api',
      () =>
        `${verb} ${key.name} by ${author.name}: ${this.show(before)} -> ${this.show(after)} (version ${version})`,
    );
  }

  private show(lease: StoredLease | undefined): string {
    if (lease === undefined) {
      return 'absent';
    }
    const holder = holderOf(lease);
    return holder === ''
      ? 'free'
      : `held by ${this.timeline.nameOf(holder)} for ${lease.spec?.leaseDurationSeconds ?? 'ever'} s`;
  }
}

export function holderOf(lease: Lease | undefined): string {
  return lease?.spec?.holderIdentity ?? '';
}

/** Its holder has ended, and it stays taken for the rest of `minHold`. */
export function isRetained(lease: Lease | undefined): boolean {
  const by = lease?.metadata.annotations?.[RETAINED_BY];
  return by !== undefined && by === holderOf(lease);
}

export function expires(lease: Lease | undefined): boolean {
  return durationOf(lease) !== Infinity || uidOf(lease) !== undefined;
}

/** The holder identities in line. */
function ticketsOf(lease: Lease | undefined): string[] {
  return Object.entries(lease?.metadata.annotations ?? {})
    .filter(([name]) => name.startsWith(TICKET))
    .map(([, value]) => value.split(' ')[2] ?? '');
}

/** Milliseconds; Infinity = until released. */
export function durationOf(lease: Lease | undefined): number {
  const [granted, , holder] =
    lease?.metadata.annotations?.[GRANT]?.split(' ') ?? [];
  if (holder !== undefined && holder === holderOf(lease)) {
    return Number(granted);
  }
  const seconds = lease?.spec?.leaseDurationSeconds;
  return typeof seconds === 'number' && seconds < 2_147_483_647
    ? seconds * 1_000
    : Infinity;
}

export function specOf(lease: Lease | undefined): string {
  return JSON.stringify(lease?.spec ?? null);
}

/** Whether an identity is one of the client that wrote. */
export function isOf(identity: string, { author }: AppliedWrite): boolean {
  return identity === author.name || identity.startsWith(`${author.name}_`);
}
