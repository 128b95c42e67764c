/** Computes planned fire times from a schedule, and the planned fire of a call. */

/** The used part of `CronTime` of the package `cron`, by which the scheduler itself computes times. */
export interface CronTime {
  /** The expression, or a single time as a Luxon DateTime. */
  readonly source: string | { toMillis(): number };
  readonly timeZone?: string | null;
  /** Minutes. */
  readonly utcOffset?: number | null;
  getNextDateFrom(start: Date, timeZone?: string): PlannedTime;
}

/** The used part of a Luxon DateTime. */
interface PlannedTime {
  toMillis(): number;
  /** The offset of the zone from UTC at a time, in minutes. */
  readonly zone: { offset(at: number): number };
}

/** The planned times of a schedule, in milliseconds since the epoch. */
export interface Plan {
  /** The latest time that is not after `now`; undefined if there is none. */
  last(now: number): number | undefined;
  /** The first time after `now`; Infinity if there is none. */
  next(now: number): number;
}

/** One planned fire. */
export interface Fire {
  /** The planned time, in milliseconds since the epoch; it is the same in every pod, independent of clocks. */
  readonly at: number;
  /** The latest fire that a pod with a plausible clock can have claimed by now. */
  readonly latest: number;
}

/** A fire claim that is ahead by more than this, and by more than a period, is ignored: the clock of its pod is wrong. */
const SANE_ADVANCE = 3_600_000;

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
/** The range in which times are searched, ahead and back: February 29 can be eight years away. */
const FARTHEST = 9 * 366 * 24 * HOUR;
/** For this long after a DST change the result of `cron` may depend on the time from which it searches. */
const AFTER_CHANGE = 3 * HOUR;
/** The longest change of local time: Samoa skipped a whole day. */
const LONGEST_CHANGE = 25 * HOUR;
/** How much farther each look back goes: a look costs most where the next fire is far away. */
const GROWTH = 4;
/** This many fires are stepped through one by one; a time that is farther away is searched for. */
const LONGEST_WALK = 100;

/**
 * The fire of a call at `now`: the last planned one. `cron` does not fire before the local clock has
 * reached the planned time, even if that clock was set back meanwhile. A call may be late by up to a
 * period (a busy or paused process, a clock that was set forward) and still gets its fire.
 */
export function fireAt(plan: Plan, now: number): Fire | undefined {
  const at = plan.last(now);
  return at === undefined
    ? undefined
    : { at, latest: Math.max(plan.next(now), now + SANE_ADVANCE) };
}

/** The whole multiples of the period since 1970. */
export function planOfInterval(milliseconds: number): Plan {
  // 4.1 * 60_000 is not an integer, and a claim is written in whole milliseconds.
  const period = Math.max(Math.round(milliseconds), 1);
  return {
    last: (now) => Math.floor(now / period) * period,
    next: (now) => (Math.floor(now / period) + 1) * period,
  };
}

const plans = new WeakMap<CronTime, Plan>();

/** A33: the times at which `cron` itself fires, including those in the repeated hour at the end of DST. */
export function planOfCron(time: CronTime): Plan {
  const plan = plans.get(time) ?? makePlan(time);
  plans.set(time, plan);
  return plan;
}

function makePlan(time: CronTime): Plan {
  if (typeof time.source !== 'string') {
    const at = time.source.toMillis();
    return {
      last: (now) => (at <= now ? at : undefined),
      next: (now) => (at > now ? at : Infinity),
    };
  }
  return new CronChain(time, zoneOf(time));
}

/**
 * The fires of a scheduler that has run for a long time, and steps from fire to fire. Around a DST change
 * the next time that `cron` computes depends on the start of the search: one hour after a fire in the
 * repeated hour, it finds the same local time again. A time that is found only in this way is not a fire.
 */
class CronChain implements Plan {
  /** The fire of the last search, and its successor. */
  private found: { at: number; next: number } | undefined;
  /** The zone of the times, known once a time was computed. */
  private clocks: PlannedTime['zone'] | undefined;

  constructor(
    private readonly time: CronTime,
    private readonly zone: string | undefined,
  ) {}

  last(now: number): number | undefined {
    return this.seek(now)?.at;
  }

  next(now: number): number {
    return this.seek(now)?.next ?? this.after(now);
  }

  /** Undefined if there is no fire before. */
  private seek(now: number): CronChain['found'] {
    const { found } = this;
    if (found === undefined || now < found.at) {
      return this.search(now);
    }
    for (let walked = 0; found.next <= now; walked += 1) {
      if (walked === LONGEST_WALK) {
        return this.search(now);
      }
      this.walk(found);
    }
    return found;
  }

  private search(now: number): CronChain['found'] {
    const next = (start: number): number => this.plan(start);
    let at = findLast(next, now);
    const change = at && this.findChange(at);
    const before = change && findLast(next, change - 1);
    if (before !== undefined && this.after(before) > now) {
      // A time after the change is found only from a fire before it.
      at = before;
    }
    this.found = at === undefined ? undefined : { at, next: this.after(at) };
    return this.found && this.seek(now);
  }

  private walk(found: { at: number; next: number }): void {
    found.at = found.next;
    found.next = this.after(found.at);
  }

  /** The DST change that may affect the fires around `at`. */
  private findChange(at: number): number | undefined {
    const offsetAt = (each: number): number => this.clocks!.offset(each);
    const offset = offsetAt(at);
    let before = at - AFTER_CHANGE - LONGEST_CHANGE;
    if (offsetAt(before) === offset) {
      return undefined;
    }
    let after = at;
    while (after - before > 1) {
      const middle = Math.floor((before + after) / 2);
      if (offsetAt(middle) === offset) {
        after = middle;
      } else {
        before = middle;
      }
    }
    return after;
  }

  /**
   * The fire that follows one at `start`. In zones with half-hour DST shifts `cron` can return times in
   * the past, which are ignored.
   */
  private after(start: number): number {
    for (let from = start; from < start + AFTER_CHANGE; from += SECOND) {
      const at = this.plan(from);
      if (at > start) {
        return at;
      }
    }
    return Infinity;
  }

  private plan(start: number): number {
    try {
      const planned = this.time.getNextDateFrom(new Date(start), this.zone);
      this.clocks = planned.zone;
      return planned.toMillis();
    } catch {
      return Infinity; // no time within the range of `cron`
    }
  }
}

/**
 * `cron` only searches forward, so this searches for the latest start from which `cron` finds a time before
 * `now`. Each step keeps what `cron` has found from the present start: it is slow.
 */
function findLast(
  next: (start: number) => number,
  now: number,
): number | undefined {
  let span = SECOND;
  let start = now - span;
  let at = next(start);
  while (at > now) {
    span *= GROWTH;
    if (span > FARTHEST) {
      return undefined;
    }
    start = now - span;
    at = next(start);
  }
  // Two times of `cron` are at least a second apart.
  let end = span === SECOND ? now : now - span / GROWTH;
  while (end - start > SECOND) {
    const following = next(at);
    if (following > now) {
      return at;
    }
    if (at > start) {
      start = at;
      at = following;
    }
    const middle = (start + end) / 2;
    const found = next(middle);
    if (found <= now) {
      start = middle;
      at = found;
    } else {
      end = middle;
    }
  }
  return at;
}

/** The zone as `CronTime.sendAt()` determines it; undefined is the zone of the process. */
function zoneOf({ timeZone, utcOffset }: CronTime): string | undefined {
  if (typeof utcOffset !== 'number') {
    return timeZone ?? undefined;
  }
  const minutes = Math.abs(utcOffset);
  const [hour, minute] = [Math.trunc(minutes / 60), minutes % 60].map((part) =>
    String(part).padStart(2, '0'),
  );
  return `UTC${utcOffset < 0 ? '-' : '+'}${hour}:${minute}`;
}
