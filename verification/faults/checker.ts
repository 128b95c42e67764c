/**
 * Checks the evidence of a run for the properties that the simulator checks, as far as they can be seen
 * from outside. Unknown facts (whether an unanswered write was applied, and exactly when) never count
 * as a finding.
 */
import type { Belief } from '../beliefs/belief-log.js';
import {
  findOverlaps,
  findStaleTokens,
  type Overlap,
} from '../beliefs/overlaps.js';
import type {
  Evidence,
  Finding,
  LeaseWrite,
  RegisterWrite,
} from './evidence.js';
import { Excuses, type Excuse } from './excuses.js';
import { Histories, holderOf } from './histories.js';
import { isApplied } from './lease-write.js';
import { judgeWrites } from './write-checks.js';

export interface Verdict {
  readonly findings: readonly Finding[];
  /** Pairs of beliefs that had a moment in common, for a reason. */
  readonly excused: readonly (Overlap & { readonly excuse: Excuse })[];
  readonly histories: Histories;
}

/** The reasons of losses that say that somebody else did something. */
const BY_OTHERS = new Set(['taken', 'freed', 'deleted']);

export function check(evidence: Evidence): Verdict {
  const { beliefs, incidents, register } = evidence;
  const histories = new Histories(evidence.writes);
  const excuses = new Excuses(evidence, histories);
  const overlaps = findOverlaps(beliefs).map((overlap) => {
    const { earlier, later } = overlap;
    return {
      ...overlap,
      excuse: excuses.find(earlier, later.from, later.process),
    };
  });
  return {
    findings: [
      ...incidents,
      ...overlaps
        .filter(({ excuse }) => excuse === undefined)
        .map(({ earlier, later, duration }) => ({
          check: 'two-holders' as const,
          at: later.from,
          lock: later.lock,
          text: `${earlier.holding} (${earlier.process}) and ${later.holding} (${later.process}) both believed that they hold ${later.lock}, for ${duration.toFixed(1)} ms`,
        })),
      ...judgePermits(evidence, excuses),
      ...judgeTokens(evidence, histories),
      ...judgeRegister(register, beliefs),
      ...judgeWrites(evidence, histories, excuses),
      ...judgeLosses(evidence, histories, excuses),
    ].toSorted((a, b) => a.at - b.at),
    excused: overlaps.flatMap(({ excuse, ...overlap }) =>
      excuse === undefined ? [] : [{ ...overlap, excuse }],
    ),
    histories,
  };
}

/** Of each semaphore: who had it when one more acquired it, in whatever slot. */
function judgePermits(
  { beliefs, permits }: Evidence,
  excuses: Excuses,
): Finding[] {
  return [...permits].flatMap(([name, most]) => {
    const ofSemaphore = beliefs
      .filter((belief) => belief.name === name)
      .toSorted((a, b) => a.from - b.from);
    return ofSemaphore.flatMap((last, index): Finding[] => {
      const { from, lock } = last;
      const holders = ofSemaphore
        .slice(0, index)
        .filter(
          (other) => other.to > from && excuses.find(other, from) === undefined,
        );
      if (holders.length < most) {
        return [];
      }
      const all = [...holders, last].map(
        ({ holding, lock: slot }) => `${holding} (${slot})`,
      );
      const text = `${all.length} believed at once that they hold ${name}, which has ${most} permits: ${all.join(', ')}`;
      return [{ check: 'too-many-holders', at: from, lock, text }];
    });
  });
}

function judgeTokens(
  { beliefs, writes }: Evidence,
  histories: Histories,
): Finding[] {
  /** A write that gave it the lock, or a place in line to another after that. */
  const isUnanswered = ({ lock, holding, from }: Belief): boolean => {
    const ofLock = writes.filter(
      ({ lease, forwardedAt }) => lease === lock && forwardedAt <= from,
    );
    const isItsOwn = ({ stored, sent }: LeaseWrite): boolean =>
      holderOf(stored ?? sent) === holding;
    return (
      ofLock.some(isItsOwn) &&
      ofLock.some(
        (write) =>
          write.status === undefined &&
          (isItsOwn(write) || write.change?.isOfLine),
      )
    );
  };
  return [
    ...findStaleTokens(beliefs).map((belief) =>
      accuseToken(belief, 'which is not greater than all before'),
    ),
    ...beliefs
      .filter((belief) => {
        const made = histories.findByVersion(belief.lock, belief.token);
        return made === undefined
          ? !isUnanswered(belief)
          : made.stored?.spec?.holderIdentity !== belief.holding;
      })
      .map((belief) => accuseToken(belief, 'which no write of its has made')),
  ];
}

function accuseToken(belief: Belief, why: string): Finding {
  return {
    check: 'token-out-of-order',
    at: belief.from,
    lock: belief.lock,
    text: `${belief.holding} acquired ${belief.lock} with the token ${belief.token}, ${why}`,
  };
}

/** By the order in which the writers acquired the lock, whatever their tokens are. */
function judgeRegister(
  register: readonly RegisterWrite[],
  beliefs: readonly Belief[],
): Finding[] {
  const acquiredAt = new Map(
    beliefs.map(({ holding, from }) => [holding, from]),
  );
  const lastWriters = new Map<string, { holding: string; from: number }>();
  const findings: Finding[] = [];
  for (const { lock, holding, token, at, accepted } of register) {
    const from = acquiredAt.get(holding);
    if (!accepted || from === undefined) {
      continue;
    }
    const last = lastWriters.get(lock);
    if (last && from < last.from) {
      findings.push({
        check: 'stale-write-accepted',
        at,
        lock,
        text: `the register of ${lock} accepted a write from ${holding} (token ${token}), which had acquired it before its last writer, ${last.holding}, did`,
      });
    }
    lastWriters.set(lock, { holding, from });
  }
  return findings;
}

/** Of what was lost to others, or should have been. */
function judgeLosses(
  { beliefs, writes }: Evidence,
  histories: Histories,
  excuses: Excuses,
): Finding[] {
  const hasUnanswered = (lock: string): boolean =>
    writes.some(({ lease, status }) => lease === lock && status === undefined);
  const isWithoutCause = (belief: Belief): boolean =>
    BY_OTHERS.has(belief.reason ?? '') &&
    !histories
      .displacements(belief.lock, belief.holding)
      .some(({ forwardedAt }) => forwardedAt <= belief.to) &&
    !hasUnanswered(belief.lock);
  return [
    ...beliefs.filter(isWithoutCause).map((belief): Finding => ({
      check: 'lost-without-cause',
      at: belief.to,
      lock: belief.lock,
      text: `${belief.holding} (${belief.process}) lost ${belief.lock} as ${belief.reason}, though nobody had touched its record`,
    })),
    ...beliefs
      .filter((belief) => belief.to > excuses.latestNotice(belief))
      .map((belief): Finding => ({
        check: 'loss-unnoticed',
        at: belief.to,
        lock: belief.lock,
        text: `${belief.holding} (${belief.process}) believed in ${belief.lock} until ${(belief.to - excuses.latestNotice(belief)).toFixed(0)} ms after the last moment at which it had to know that it was taken away`,
      })),
  ];
}

/** For the figures: a write that gave a lock from one process to another without a release. */
export function isTakeover(write: LeaseWrite, histories: Histories): boolean {
  const from = histories.holderBefore(write);
  const to = write.stored?.spec?.holderIdentity ?? '';
  return (
    isApplied(write) &&
    to !== '' &&
    from !== undefined &&
    from !== '' &&
    from !== to &&
    !from.startsWith(`${write.author}_`) &&
    to.startsWith(`${write.author}_`)
  );
}
