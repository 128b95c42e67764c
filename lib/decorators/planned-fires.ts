/** Which planned fire a call of the scheduler is for, computed from the schedule and never from the moment of the call alone. */

/** As much of the `CronTime` of the package `cron` as is used; its times are those of the scheduler itself. */
export interface CronTime {
  /** The expression, or one moment as a Luxon DateTime. */
  readonly source: string | { toMillis(): number };
  readonly timeZone?: string | null;
  /** Minutes. */
  readonly utcOffset?: number | null;
  getNextDateFrom(start: Date, timeZone?: string): { toMillis(): number };
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

/** Milliseconds by which a call may come before its fire is due, at most. */
const EARLIEST = 250;
/** A pod whose clock is ahead by more than this, and by more than a period, is not believed. */
const SANE_ADVANCE = 3_600_000;

const SECOND = 1_000;
/** Beyond this, `cron` finds no time, neither ahead nor back: February 29 comes every eight years at times. */
const FARTHEST = 9 * 366 * 24 * 3_600 * SECOND;

/**
 * The fire that a call at `now` is for: the last one that was planned. `cron` does not fire before the
 * local clock has reached the planned time, not even when that clock was set back meanwhile, so that
 * a call may be late by up to a period (a busy or paused process, a clock that was set forward) and
 * still is for its own fire. A timer that runs ahead a little is for the one to come.
 */
export function fireAt(plan: Plan, now: number): Fire | undefined {
  const last = plan.last(now);
  const next = plan.next(now);
  const isEarly =
    last === undefined || (next - now <= EARLIEST && next - now < now - last);
  const at = isEarly ? next : last;
  return at === Infinity
    ? undefined
    : { at, latest: Math.max(next, now + SANE_ADVANCE) };
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

/** The times at which `cron` itself fires: in the repeated hour of a change to winter time, too. */
export function planOfCron(time: CronTime): Plan {
  if (typeof time.source !== 'string') {
    const at = time.source.toMillis();
    return {
      last: (now) => (at <= now ? at : undefined),
      next: (now) => (at > now ? at : Infinity),
    };
  }
  const zone = zoneOf(time);
  const next = (now: number): number => {
    try {
      const at = time.getNextDateFrom(new Date(now), zone).toMillis();
      // Back in time it leads where clocks change by half an hour: no fire comes of that.
      return at > now ? at : Infinity;
    } catch {
      return Infinity; // never again, as far as `cron` looks ahead
    }
  };
  return { next, last: (now) => findLast(next, now) };
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
