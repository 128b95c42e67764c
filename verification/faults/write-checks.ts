/** Judges each write to a Lease: by what it replaced, by who believed what meanwhile, and by its form. */
import { isDeepStrictEqual } from 'node:util';
import type { Belief } from '../beliefs/belief-log.js';
import {
  KUBECTL,
  type Check,
  type Evidence,
  type Finding,
  type LeaseRecord,
  type LeaseWrite,
} from './evidence.js';
import type { Excuses } from './excuses.js';
import {
  durationOf,
  holderOf,
  isSession,
  sessionOf,
  specOf,
  type Histories,
} from './histories.js';
import { isApplied } from './lease-write.js';
import { grantedFor, isBefore, ticketsIn } from './line.js';

/** Milliseconds: what times of several processes may differ by. */
const ROUNDING = 1;
/** Annotations and labels under these are the project's own. */
const OWN = /^(line\.)?nestjs-k8s-lock\//;

export function judgeWrites(
  evidence: Evidence,
  histories: Histories,
  excuses: Excuses,
): Finding[] {
  const judge = new WriteJudge(evidence, histories, excuses);
  return evidence.writes
    .filter(({ author }) => author !== KUBECTL)
    .flatMap((write) => judge.judge(write));
}

class WriteJudge {
  private readonly beliefs: ReadonlyMap<string, Belief>;

  constructor(
    private readonly evidence: Evidence,
    private readonly histories: Histories,
    private readonly excuses: Excuses,
  ) {
    this.beliefs = new Map(
      evidence.beliefs.map((belief) => [belief.holding, belief]),
    );
  }

  judge(write: LeaseWrite): Finding[] {
    const faults = [...this.faultsOfRequest(write)];
    if (isApplied(write)) {
      const before = this.histories.recordBefore(write);
      faults.push(
        ...this.faultsOfRecord(write, before),
        ...this.faultsOfLine(write, before),
      );
      if (before && specOf(before) !== specOf(write.stored)) {
        faults.push(...this.faultsOfChange(write, before));
      }
    }
    return faults.map(([check, why]) => ({
      check,
      at: write.forwardedAt,
      lock: write.lease,
      text: `${write.author}: ${write.verb} ${write.lease} (${describe(write.sent)}): ${why}`,
    }));
  }

  /** R1. */
  private *faultsOfRequest({
    verb,
    basedOn: { uid, resourceVersion },
    status,
    change,
  }: LeaseWrite): Iterable<[Check, string]> {
    const isBased =
      change === undefined
        ? resourceVersion
        : change.tested !== undefined || change.isOfLine;
    if (verb !== 'create' && (!uid || !isBased)) {
      yield ['blind-write', 'it does not say what it replaces'];
    }
    if (verb === 'replace' && status === 201) {
      yield ['blind-write', 'it created again a Lease that had been deleted'];
    }
  }

  /** R2, R6, R10. */
  private *faultsOfRecord(
    { verb, stored, change }: LeaseWrite,
    before: LeaseRecord | undefined,
  ): Iterable<[Check, string]> {
    if (verb === 'delete' || stored === undefined) {
      return;
    }
    const spec = stored.spec ?? {};
    const { leaseDurationSeconds: duration, leaseTransitions: count } = spec;
    const isHeld = holderOf(stored) !== '';
    // What another client wrote, and this write left as it was, is no fault of this write.
    const isKept =
      change?.isOfLine || isDeepStrictEqual(stored.spec, before?.spec);
    if (
      isHeld &&
      !isKept &&
      !(
        spec.acquireTime &&
        spec.renewTime &&
        typeof count === 'number' &&
        typeof duration === 'number' &&
        duration >= 1
      )
    ) {
      yield ['malformed-record', 'R2: a field is missing'];
    }
    if (before === undefined) {
      return;
    }
    const hasNewHolder = isHeld && holderOf(stored) !== holderOf(before);
    const expected =
      (before.spec?.leaseTransitions ?? 0) + Number(hasNewHolder);
    if (isHeld && !isKept && count !== expected) {
      yield ['malformed-record', 'leaseTransitions does not count'];
    }
    const left = [spec.acquireTime, spec.renewTime, duration];
    if (
      !isHeld &&
      holderOf(before) !== '' &&
      left.some((value) => value !== undefined)
    ) {
      yield ['malformed-record', 'R6: a field was left'];
    }
    for (const field of ['labels', 'annotations'] as const) {
      for (const [name, value] of Object.entries(
        before.metadata[field] ?? {},
      )) {
        if (!OWN.test(name) && stored.metadata[field]?.[name] !== value) {
          yield ['malformed-record', `R10: ${name} did not survive`];
        }
      }
    }
  }

  /** R11: whose places in line may it add and remove? */
  private *faultsOfLine(
    write: LeaseWrite,
    before: LeaseRecord | undefined,
  ): Iterable<[Check, string]> {
    const { author, verb, lease, stored } = write;
    const to = holderOf(stored);
    if (verb === 'delete') {
      if (ticketsIn(before?.metadata.annotations).length > 0) {
        yield ['touched-foreign-record', 'R11: others are in line'];
      }
      return;
    }
    const { added, removed } = this.histories.changeOfLine(write);
    for (const { identity } of added) {
      if (!isOf(author, identity)) {
        yield ['touched-foreign-record', `R11: it enrols ${identity}`];
      }
    }
    const own = this.histories.ticketOf(lease, to);
    const hasLapsed =
      grantedFor(before) !== undefined && holderOf(before) !== to;
    for (const ticket of removed) {
      const { identity } = ticket;
      const isPassed =
        isOf(author, to) &&
        (hasLapsed || (own !== undefined && isBefore(ticket, own)));
      if (!isOf(author, identity) && identity !== to && !isPassed) {
        yield [
          'touched-foreign-record',
          `R11: it removes ${identity} from the line`,
        ];
      }
    }
  }

  /** R11: the holder passes the lock on to a process in line. */
  private *faultsOfGrant(
    write: LeaseWrite,
    before: LeaseRecord,
  ): Iterable<[Check, string]> {
    const { lease, stored } = write;
    const to = holderOf(stored);
    const isTo = ({ identity }: { identity: string }): boolean =>
      identity === to;
    const ticket = this.histories.changeOfLine(write).removed.find(isTo);
    if (ticket === undefined) {
      yield ticketsIn(before.metadata.annotations).some(isTo)
        ? ['malformed-record', `R11: the ticket of ${to} was left`]
        : ['touched-foreign-record', `R11: ${to} was not in line`];
    }
    const seconds = stored?.spec?.leaseDurationSeconds ?? 0;
    const isWanted =
      seconds === this.histories.ticketOf(lease, to)?.seconds &&
      (grantedFor(stored) ?? Infinity) <= seconds * 1_000;
    if (ticket && !isWanted) {
      yield ['malformed-record', `R11: not for as long as ${to} asked for it`];
    }
  }

  /** Who may do this to the record that was there, at this time? */
  private *faultsOfChange(
    write: LeaseWrite,
    before: LeaseRecord,
  ): Iterable<[Check, string]> {
    const { author, stored, forwardedAt } = write;
    const from = holderOf(before);
    const to = holderOf(stored);
    const isGrant = to !== '' && !isOf(author, to);
    if (isGrant) {
      if (!isOf(author, from)) {
        yield ['touched-foreign-record', 'it is for another'];
        return;
      }
      yield* this.faultsOfGrant(write, before);
    }
    if (from === '' || from === to) {
      return;
    }
    const belief = this.beliefs.get(from);
    const isBelieved =
      belief !== undefined &&
      belief.from < forwardedAt &&
      belief.to > forwardedAt + ROUNDING;
    if (isOf(author, from)) {
      if (isBelieved) {
        yield [
          'touched-foreign-record',
          `it ends ${from}, which is still held`,
        ];
      }
      return;
    }
    const made = this.histories.before(write);
    // R12: a session that has expired is ended before anything is taken from it.
    if (to === '' && !isSession(write.lease)) {
      yield ['touched-foreign-record', `it frees what is held by ${from}`];
      return;
    }
    const session = sessionOf(made?.stored);
    if (session !== undefined) {
      if (this.histories.isSessionAlive(session, write.answeredAt)) {
        yield [
          'took-held-lock',
          `${from} holds it under ${session.name}, which nobody had ended`,
        ];
      }
      yield* this.faultsOfBelief(write, from, isBelieved);
      return;
    }
    const since = made ? this.histories.specSince(made) : -Infinity;
    const stood = write.answeredAt - since;
    const watched = stood * (this.evidence.clockRates.get(author) ?? 1);
    const duration = durationOf(before);
    if (watched < duration - ROUNDING) {
      yield [
        'took-held-lock',
        `the record of ${from} has stood for at most ${stood.toFixed(1)} ms, of ${duration} ms`,
      ];
    }
    yield* this.faultsOfBelief(write, from, isBelieved);
  }

  /** The holder from which the lock is taken must know by then that it has lost it. */
  private *faultsOfBelief(
    { author, forwardedAt }: LeaseWrite,
    from: string,
    isBelieved: boolean,
  ): Iterable<[Check, string]> {
    const belief = this.beliefs.get(from);
    if (
      belief &&
      isBelieved &&
      this.excuses.find(belief, forwardedAt, author) === undefined
    ) {
      yield [
        'aborted-too-late',
        `${from} still believed in it, and for ${(belief.to - forwardedAt).toFixed(1)} ms more`,
      ];
    }
  }
}

function isOf(author: string, identity: string): boolean {
  return identity.startsWith(`${author}_`);
}

function describe(lease: LeaseRecord | undefined): string {
  if (lease === undefined) {
    return 'absent';
  }
  const holder = holderOf(lease);
  return holder === ''
    ? 'free'
    : `held by ${holder} for ${lease.spec?.leaseDurationSeconds ?? 'ever'} s`;
}
