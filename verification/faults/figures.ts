/** The figures of a run, and how its findings are shown. */
import type { Belief } from '../beliefs/belief-log.js';
import { isTakeover } from './checker.js';
import type { Evidence, Finding, LeaseWrite } from './evidence.js';
import type { Excuse } from './excuses.js';
import { ELECTION, type FaultRun } from './fault-run.js';
import { durationOf, holderOf } from './histories.js';
import { enrolledBy, grantedBy, isApplied } from './lease-write.js';

/** Milliseconds before and after a finding that are shown with it. */
const BEFORE = 8_000;
const AFTER = 1_000;
/** Milliseconds after a pause in which it is noticed that a lock was lost in it. */
const REACTION = 1_000;
/** How much of what happened to the lock is shown at least. */
const LEAST = 12;

interface Line {
  readonly at: number;
  readonly text: string;
}

export type Row = readonly [what: string, value: string];

/** One row for each figure. */
export function tableOf(run: FaultRun): Row[] {
  const { evidence, verdict } = run;
  const { beliefs, writes, register, faults, pauses, permits } = evidence;
  const { findings, excused, histories } = verdict;
  const count = (check: Finding['check']): string =>
    String(findings.filter((each) => each.check === check).length);
  const countExcused = (...excuses: Excuse[]): string =>
    String(excused.filter(({ excuse }) => excuses.includes(excuse)).length);
  const kinds = countBy(faults, ({ kind }) => kind);
  const ofSemaphores = beliefs.filter(({ name = '' }) => permits.has(name));
  const leaderships = beliefs.filter(({ name }) => name === ELECTION.name);
  const lost = beliefs.filter(({ how }) => how === 'lost');
  const stalls = pauses.filter(({ why }) => why === 'stall');
  const refused = register.filter(({ accepted }) => !accepted);
  const takeovers = takeoverTimes(run);
  const margins = abortMargins(run);
  const applied = writes.filter(isApplied);
  const patches = writes.filter(({ verb }) => verb === 'patch');
  const countSuffered = (suffered: LeaseWrite['suffered']): string =>
    String(patches.filter((each) => each.suffered === suffered).length);
  const unknown = writes.filter(({ status }) => status === undefined);
  const unjudged = writes.filter(
    (write) => isApplied(write) && histories.holderBefore(write) === undefined,
  );
  return [
    ...[...kinds].map(([kind, times]): Row => [
      `injected: ${kind}`,
      `${times}`,
    ]),
    ...run.notInjected.map((kind): Row => ['not injected', kind]),
    ['faults injected', String(faults.length)],
    ['acquisitions', String(beliefs.length)],
    ['… of a semaphore', String(ofSemaphores.length)],
    ['… of the lead', String(leaderships.length)],
    [
      'takeovers from a silent holder',
      String(writes.filter((each) => isTakeover(each, histories)).length),
    ],
    [
      'losses',
      [...countBy(lost, ({ reason }) => reason ?? 'unknown')]
        .map(([reason, times]) => `${times} ${reason}`)
        .join(', '),
    ],
    ['writes to Leases', String(writes.length)],
    ['… places in line', String(applied.filter(enrolledBy).length)],
    ['… grants', String(applied.filter(grantedBy).length)],
    ['… PATCH sent late', countSuffered('sent late')],
    ['… PATCH whose answer was lost', countSuffered('answer lost')],
    ['… whose fate nobody knows', String(unknown.length)],
    ['… that replaced a record that nobody saw', String(unjudged.length)],
    ['overlaps not excused', count('two-holders')],
    ['more holders than permits', count('too-many-holders')],
    ['overlaps excused by a pause', countExcused('stopped', 'blocked')],
    ['overlaps excused by an edit by hand', countExcused('hand')],
    ['overlaps excused by a stall of the machine alone', countExcused('stall')],
    ['writes to the fenced registers', String(register.length)],
    ['… of them stale', String(refused.length)],
    ['… of them stale and accepted', count('stale-write-accepted')],
    [
      'takeover after death or pause: worst',
      `${inSeconds(Math.max(...takeovers))} (of ${takeovers.length})`,
    ],
    ['… median', inSeconds(median(takeovers))],
    [
      'abort before the lock was taken over: worst',
      `${inMs(Math.min(...margins))} (of ${margins.length})`,
    ],
    ['… median', inMs(median(margins))],
    [
      `stalls of ${evidence.leastStall} ms and more, injected or not`,
      String(stalls.length),
    ],
    ['findings', String(findings.length)],
  ];
}

export function format(rows: readonly Row[]): string {
  const width = Math.max(...rows.map(([what]) => what.length));
  return rows
    .map(([what, value]) => `${what.padEnd(width)}  ${value}`)
    .join('\n');
}

/** The first findings, each with what has happened to its lock around it. */
export function explain({ evidence, verdict }: FaultRun, most = 5): string {
  const shown = verdict.findings.slice(0, most);
  return shown
    .map((finding) =>
      [
        `*** ${finding.check} at ${finding.at.toFixed(1)}: ${finding.text}`,
        ...(finding.lock === undefined
          ? []
          : timelineOf(evidence, finding, finding.lock)),
      ].join('\n'),
    )
    .join('\n\n');
}

function timelineOf(
  { beliefs, pauses, writes, faults }: Evidence,
  { at }: Finding,
  lock: string,
): string[] {
  const ofLock: Line[] = [
    ...beliefs
      .filter((each) => each.lock === lock)
      .flatMap(({ process, holding, token, from, to, how, reason = '' }) => [
        { at: from, text: `${process} believes: ${holding}, token ${token}` },
        { at: to, text: `${process} ${how} ${reason}: ${holding}` },
      ]),
    ...writes
      .filter(({ lease }) => lease === lock)
      .map((write) => ({ at: write.forwardedAt, text: describe(write) })),
  ].toSorted((a, b) => a.at - b.at);
  const others: Line[] = [
    ...pauses.flatMap(({ process, from, to, why }) => [
      {
        at: from,
        text: `${process} pauses (${why}, ${(to - from).toFixed(0)} ms)`,
      },
      { at: to, text: `${process} goes on` },
    ]),
    ...faults.flatMap(({ kind, from, to, target }) => [
      { at: from, text: `FAULT ${kind}: ${target}` },
      { at: to, text: `fault over: ${kind}: ${target}` },
    ]),
  ];
  const least = new Set(ofLock.filter((line) => line.at < at).slice(-LEAST));
  const isNear = (line: Line): boolean =>
    line.at > at - BEFORE && line.at < at + AFTER;
  return [...ofLock, ...others]
    .filter((line) => isNear(line) || least.has(line))
    .toSorted((a, b) => a.at - b.at)
    .map((line) => `${line.at.toFixed(1).padStart(14)} ${line.text}`);
}

function describe(write: LeaseWrite): string {
  const { author, verb, sent, stored, basedOn, status, answeredAt } = write;
  const { change, suffered = '' } = write;
  const from = change
    ? change.isOfLine
      ? `+${Object.values(change.added).join()} -${change.removed.join()}`
      : `of ${change.tested?.holderIdentity ?? 'free'}`
    : (basedOn.resourceVersion ?? 'none');
  const to = stored?.metadata.resourceVersion ?? 'none';
  return `${author}: ${verb} ${from} by ${holderOf(sent) || 'free'}: ${status ?? 'no answer'}, now ${to}, at ${answeredAt.toFixed(1)} ${suffered}`;
}

/**
 * For each holder that died, or was paused and lost its lock: how long it took until somebody had it.
 * Nobody may have wanted it, or something else stood in the way; a lease that never expires does so
 * always.
 */
function takeoverTimes({
  evidence,
  verdict: { histories },
}: FaultRun): number[] {
  const { beliefs, pauses } = evidence;
  const expires = ({ lock, token }: Belief): boolean =>
    durationOf(histories.findByVersion(lock, token)?.stored) !== Infinity;
  const endOf = ({ process, from, to, how, reason }: Belief): number => {
    if (how === 'died') {
      return to;
    }
    const pause = pauses.find(
      (each) =>
        each.process === process &&
        each.why !== 'stall' &&
        each.from >= from &&
        each.from <= to &&
        each.to >= to - REACTION,
    );
    return pause && reason === 'deadline' ? pause.from : Number.NaN;
  };
  return beliefs
    .filter(expires)
    .map((belief) => {
      const end = endOf(belief);
      const next = beliefs
        .filter(({ lock, from }) => lock === belief.lock && from > end)
        .reduce((first, { from }) => Math.min(first, from), Infinity);
      return next - end;
    })
    .filter((time) => Number.isFinite(time));
}

/** From the abort to the write that gave the lock to another, where no pause and nobody's hand excuses it. */
function abortMargins({
  evidence,
  verdict: { histories },
}: FaultRun): number[] {
  const lost = evidence.beliefs.filter(
    ({ how, reason }) => how === 'lost' && reason === 'deadline',
  );
  return lost.flatMap(({ lock, holding, to }) =>
    histories
      .displacements(lock, holding)
      .filter((write) => isTakeover(write, histories))
      .map(({ forwardedAt }) => forwardedAt - to)
      .filter((margin) => margin > 0),
  );
}

function countBy<T>(
  items: readonly T[],
  keyOf: (item: T) => string,
): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) {
    counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  }
  return counts;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

function inMs(value: number): string {
  return Number.isFinite(value) ? `${value.toFixed(1)} ms` : 'none';
}

function inSeconds(value: number): string {
  return Number.isFinite(value) ? `${(value / 1_000).toFixed(2)} s` : 'none';
}
