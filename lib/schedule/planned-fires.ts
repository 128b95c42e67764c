/** Which planned fire a call of the scheduler is for, computed from the schedule and never from the moment of the call alone. */

/** As much of the `CronTime` of the package `cron` as is used; its times are those of the scheduler itself. */
export interface CronTime {
  /** The expression, or one moment as a Luxon DateTime. */
  readonly source: string | { toMillis(): number };
  readonly timeZone?: string | null;
  /** Minutes. */
  readonly utcOffset?: number | null;
  getNextDateFrom(start: Date, timeZone?: string): PlannedTime;
}

/** As much of a Luxon DateTime as is used. */
interface PlannedTime {
  toMillis(): number;
  /** Its offset from UTC at a time, in minutes. */
  readonly zone: { offset(at: number): number };
}

/** Milliseconds since the epoch at which something is planned to happen. */
export interface Plan {
  /** The latest time that is not after `now`; undefined if there is none. */
  last(now: number): number | undefined;
  /** The first time after `now`; Infinity if there is none. */
  next(now: number): number;
}

/** One planned fire. */
export interface Fire {
  /** Its planned time, in milliseconds since the epoch: the same in every pod, whatever its clock says. */
  readonly at: number;
  /** The latest fire that a pod with a sane clock can have claimed by now. */
  readonly latest: number;
}

/** A pod whose clock is ahead by more than this, and by more than a period, is not believed. */
const SANE_ADVANCE = 3_600_000;

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
/** Beyond this, `cron` finds no time, neither ahead nor back: February 29 comes every eight years at times. */
const FARTHEST = 9 * 366 * 24 * HOUR;
/** So long after a change of the clocks what `cron` plans may depend on when it is asked. */
const AFTER_CHANGE = 3 * HOUR;
/** No change of the clocks is longer: a day was left out in Samoa. */
const LONGEST_CHANGE = 25 * HOUR;
/** So many fires are gone through one by one; a time that is farther away is searched for. */
const LONGEST_WALK = 100;

/**
 * The fire that a call at `now` is for: the last one that was planned. `cron` does not fire before the
 * local clock has reached the planned time, not even when that clock was set back meanwhile. A call may
 * be late by up to a period (a busy or paused process, a clock that was set forward) and still is for
 * its own fire.
 */
export function fireAt(plan: Plan, now: number): Fire | undefined {
  const at = plan.last(now);
  return at === undefined
    ? undefined
    : { at, latest: Math.max(plan.next(now), now + SANE_ADVANCE) };
}

/** The whole multiples of the period since 1970. */
export function planOfInterval(milliseconds: number): Plan {
  // 4.1 * 60_000 is no whole number, and a claim is written in whole milliseconds.
  const period = Math.max(Math.round(milliseconds), 1);
  return {
    last: (now) => Math.floor(now / period) * period,
    next: (now) => (Math.floor(now / period) + 1) * period,
  };
}

const plans = new WeakMap<CronTime, Plan>();

/** The times at which `cron` itself fires: in the repeated hour of a change to winter time, too. */
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
 * The fires of a scheduler that has run for long, which goes on from fire to fire. Around a change of the
 * clocks what `cron` plans next depends on the time at which it is asked: at one hour after a fire in the
 * hour that comes twice, it plans the same local time again. No time that is found in this way alone is
 * a fire.
 */
class CronChain implements Plan {
  /** The fire that was found last, and the one that follows it. */
  private found: { at: number; next: number } | undefined;
  /** That of the times, known once there is one. */
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
      // What was found after the change is only found from there.
      at = before;
    }
    this.found = at === undefined ? undefined : { at, next: this.after(at) };
    return this.found && this.seek(now);
  }

  private walk(found: { at: number; next: number }): void {
    found.at = found.next;
    found.next = this.after(found.at);
  }

  /** The change of the clocks that may matter for a fire at `at`. */
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
   * The fire that follows one at `start`. Where clocks change by half an hour, `cron` may lead back in time
   * for a while: no fire comes of that.
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
      return Infinity; // never again, as far as `cron` looks ahead
    }
  }
}

/** `cron` only looks ahead: the last time is what it finds from the latest start from which it finds one. */
function findLast(
  next: (start: number) => number,
  now: number,
): number | undefined {
  const hasFire = (start: number): boolean => next(start) <= now;
  let span = SECOND;
  while (!hasFire(now - span)) {
    span *= 2;
    if (span > FARTHEST) {
      return undefined;
    }
  }
  let start = now - span;
  // There is none after this one. No two are closer together than a second.
  let end = span === SECOND ? now : now - span / 2;
  while (end - start > SECOND) {
    const at = next(start);
    if (next(at) > now) {
      return at;
    }
    start = Math.max(start, at);
    const middle = (start + end) / 2;
    if (hasFire(middle)) {
      start = middle;
    } else {
      end = middle;
    }
  }
  return next(start);
}

/** As `CronTime.sendAt()` has it. Undefined = that of the process. */
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
