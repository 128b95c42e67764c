/** Finds what must never be in the beliefs of all processes together. */
import type { Belief } from './belief-log.js';

/** Two that believed at once that they hold the same lock. */
export interface Overlap {
  readonly earlier: Belief;
  readonly later: Belief;
  /** Milliseconds. */
  readonly duration: number;
}

/** Every pair of beliefs in the same lock that have a moment in common. */
export function findOverlaps(beliefs: readonly Belief[]): Overlap[] {
  const overlaps: Overlap[] = [];
  for (const ofLock of byLock(beliefs)) {
    const open: Belief[] = [];
    for (const later of ofLock) {
      const stillOpen = open.filter(({ to }) => to > later.from);
      for (const earlier of stillOpen) {
        const duration = Math.min(earlier.to, later.to) - later.from;
        overlaps.push({ earlier, later, duration });
      }
      open.splice(0, open.length, ...stillOpen, later);
    }
  }
  return overlaps;
}

/** Every belief whose fencing token is not greater than that of an earlier one in the same lock. */
export function findStaleTokens(beliefs: readonly Belief[]): Belief[] {
  const stale: Belief[] = [];
  for (const ofLock of byLock(beliefs)) {
    let greatest = 0n;
    for (const belief of ofLock) {
      if (belief.token === undefined) {
        continue;
      }
      if (belief.token <= greatest) {
        stale.push(belief);
      } else {
        greatest = belief.token;
      }
    }
  }
  return stale;
}

/** The greatest number of beliefs, in whichever lock, that have a moment in common. */
export function mostAtOnce(beliefs: readonly Belief[]): number {
  return Math.max(
    0,
    ...beliefs.map(
      ({ from: at }) =>
        beliefs.filter(({ from, to }) => from <= at && at < to).length,
    ),
  );
}

/** For each lock its beliefs, in the order in which they began. */
function byLock(beliefs: readonly Belief[]): Iterable<Belief[]> {
  const locks = new Map<string, Belief[]>();
  for (const belief of beliefs.toSorted((a, b) => a.from - b.from)) {
    const ofLock = locks.get(belief.lock) ?? [];
    ofLock.push(belief);
    locks.set(belief.lock, ofLock);
  }
  return locks.values();
}
