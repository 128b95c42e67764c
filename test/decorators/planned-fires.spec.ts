/** The planned fire of a call is the one that `cron` itself has planned: in every time zone, across DST changes, early and late. */
import { createRequire } from 'node:module';
import type { CronTime as CronTimeClass } from 'cron';
import { assert, constantFrom, double, integer, property } from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  fireAt,
  planOfCron,
  planOfInterval,
  type CronTime,
} from '../../lib/schedule/planned-fires.js';

/** Of the very copy that @nestjs/schedule uses. */
const { CronTime: CronTimeOfCron }: { CronTime: typeof CronTimeClass } =
  createRequire(createRequire(import.meta.url).resolve('@nestjs/schedule'))(
    'cron',
  );

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const cron = (expression: string, timeZone = 'UTC'): CronTime =>
  new CronTimeOfCron(expression, timeZone);

const ms = (iso: string): number => Date.parse(iso);
const iso = (at: number | undefined): string | undefined =>
  at === undefined ? undefined : new Date(at).toISOString();

function fireOf(time: CronTime, now: string): string | undefined {
  return iso(fireAt(planOfCron(time), ms(now))?.at);
}

/** The fires one after the other, as a job goes through them. */
function chain(time: CronTime, start: number, count: number): number[] {
  const fires: number[] = [];
  for (let at = start; fires.length < count;) {
    at = time
      .getNextDateFrom(new Date(at), time.timeZone ?? undefined)
      .toMillis();
    fires.push(at);
  }
  return fires;
}

/** `cron` is slow near a change, and what it plans depends on the start of the search alone. */
function rememberAnswers(expression: string, zone: string): () => CronTime {
  const answers = new Map<number, ReturnType<CronTime['getNextDateFrom']>>();
  return () => {
    const time = cron(expression, zone);
    const ask = time.getNextDateFrom.bind(time);
    time.getNextDateFrom = (start, ...rest) => {
      const known = answers.get(start.getTime()) ?? ask(start, ...rest);
      answers.set(start.getTime(), known);
      return known;
    };
    return time;
  };
}

describe('the fire of a call', () => {
  it.each([
    ['on time', '2026-03-02T03:00:00.000Z'],
    ['some milliseconds late', '2026-03-02T03:00:00.017Z'],
    ['eleven hours late', '2026-03-02T14:00:00.000Z'],
    ['nearly a period late', '2026-03-03T02:59:59.999Z'],
  ])('%s', (_, now) => {
    expect(fireOf(cron('0 3 * * *'), now)).toBe('2026-03-02T03:00:00.000Z');
  });

  it.each([
    [-1, -1_000],
    [0, 0],
    [400, 0],
    [850, 0],
    [999, 0],
    [1_000, 1_000],
  ])(
    'of a job for every second, %i ms after it was planned',
    (late, expected) => {
      const at = ms('2026-03-02T03:00:00.000Z');
      expect(fireAt(planOfCron(cron('* * * * * *')), at + late)?.at).toBe(
        at + expected,
      );
    },
  );

  it.each([
    ['the seconds of an expression', '*/20 * * * * *', '40.100', '40.000'],
    ['an alias', '@hourly', '30.000', '00.000'],
  ])('takes in %s', (_, expression, now, expected) => {
    expect(fireOf(cron(expression), `2026-03-02T03:00:${now}Z`)).toBe(
      `2026-03-02T03:00:${expected}Z`,
    );
  });

  it.each([
    ['yearly', '0 0 1 1 *', '2026-01-01T00:00:00.000Z'],
    ['on February 29', '0 0 29 2 *', '2024-02-29T00:00:00.000Z'],
    [
      'every second of the working week',
      '* * 9-17 * * 1-5',
      '2026-08-28T17:59:59.000Z',
    ],
  ])('is found far back, %s', (_, expression, expected) => {
    expect(fireOf(cron(expression), '2026-08-30T12:00:00.000Z')).toBe(expected);
  });

  it('of a job for one moment is that moment', () => {
    const moment = '2026-03-02T03:00:00.123Z';
    const time: CronTime = new CronTimeOfCron(new Date(moment));
    for (const now of [moment, '2026-04-01']) {
      expect(fireOf(time, now)).toBe(moment);
    }
    expect(fireOf(time, '2026-03-02T03:00:00.122Z')).toBeUndefined();
  });

  it('goes by an offset to UTC', () => {
    for (const [utcOffset, expected] of [
      [330, '2026-03-01T21:30:00.000Z'],
      [-210, '2026-03-02T06:30:00.000Z'],
      [0, '2026-03-02T03:00:00.000Z'],
    ] as const) {
      const time: CronTime = new CronTimeOfCron('0 3 * * *', null, utcOffset);
      expect(fireOf(time, expected)).toBe(expected);
    }
  });

  it('goes by the time zone of the process where none is given', () => {
    const time: CronTime = new CronTimeOfCron('30 4 * * *');
    const [at = 0] = chain(time, ms('2026-03-02'), 1);
    expect(fireAt(planOfCron(time), at + 100)?.at).toBe(at);
  });
});

describe('when the clocks change', () => {
  it('each of the two passes through the repeated hour has fires of its own', () => {
    const time = cron('*/30 * * * *', 'Europe/Berlin');
    const expected = [
      '2026-10-25T00:00:00.000Z', // 02:00 in summer time
      '2026-10-25T00:30:00.000Z',
      '2026-10-25T01:00:00.000Z', // 02:00 in winter time
      '2026-10-25T01:30:00.000Z',
      '2026-10-25T02:00:00.000Z', // 03:00
    ];
    expect(chain(time, ms('2026-10-24T23:59:00.000Z'), 5).map(iso)).toEqual(
      expected,
    );
    for (const at of expected) {
      expect(fireOf(time, iso(ms(at) + 300)!)).toBe(at);
    }
  });

  it('a fire in the hour that is left out is the one of cron', () => {
    const time = cron('30 2 * * *', 'Europe/Berlin');
    const [at = 0] = chain(time, ms('2026-03-28T12:00:00.000Z'), 1);
    expect(iso(at)).toBe('2026-03-29T01:00:00.000Z'); // 03:00 in summer time
    expect(fireAt(planOfCron(time), at + 5)?.at).toBe(at);
  });
});

const EXPRESSIONS = [
  '* * * * * *',
  '*/7 * * * * *',
  '15 * * * * *',
  '* * * * *',
  '*/5 * * * *',
  '0 * * * *',
  '17 */3 * * *',
  '30 1 * * *',
  '30 2 * * *',
  '0 3 * * *',
  '45 23 * * *',
  '0 0 * * 0',
  '0 12 1,15 * *',
  '0 6 15 2 *',
];
const ZONES = [
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'America/St_Johns',
  'Australia/Lord_Howe',
  'Australia/Sydney',
  'Asia/Kolkata',
  'Asia/Tehran',
  'Pacific/Apia',
];

describe('as cron goes on from fire to fire', () => {
  it('each call is for its own fire', () => {
    assert(
      property(
        constantFrom(...EXPRESSIONS),
        constantFrom(...ZONES),
        integer({ min: ms('2025-01-01'), max: ms('2027-01-01') }),
        integer({ min: 0, max: 999 }),
        (expression, zone, start, late) => {
          const time = cron(expression, zone);
          for (const at of chain(time, start, 4)) {
            const fire = fireAt(planOfCron(time), at + late);
            expect(iso(fire?.at)).toBe(iso(at));
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  it('a call may be late by nearly a period', () => {
    assert(
      property(
        constantFrom(...EXPRESSIONS),
        integer({ min: ms('2025-01-01'), max: ms('2027-01-01') }),
        double({ min: 0, max: 1, noNaN: true }),
        (expression, start, share) => {
          const time = cron(expression);
          const [at = 0, next = 0] = chain(time, start, 2);
          const now = at + Math.floor(share * (next - at - 1));
          expect(iso(fireAt(planOfCron(time), now)?.at)).toBe(iso(at));
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe('around a change of the clocks', { timeout: 120_000 }, () => {
  /** What `cron` reads. */
  let clock = 0;
  beforeEach(() => {
    vi.spyOn(Date, 'now').mockImplementation(() => clock);
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** The fires of a scheduler that runs all the time: what it plans depends on the time at which it does. */
  function followScheduler(time: CronTime, from: number, to: number): number[] {
    const fires: number[] = [];
    for (let at = from; at <= to;) {
      clock = at + 3;
      const next = time
        .getNextDateFrom(new Date(clock), time.timeZone ?? undefined)
        .toMillis();
      // Led back in time, it asks again.
      at = next > at ? next : at + SECOND;
      if (at === next) {
        fires.push(at);
      }
    }
    return fires;
  }

  it.each([
    // The second pass through 02:30 is in nobody's plan.
    ['30 2 * * *', 'Europe/Berlin', '2026-10-25T08:00', '2026-10-25T00:30'],
    ['30 2 * * *', 'Europe/Berlin', '2026-10-25T00:45', '2026-10-25T00:30'],
    ['30 2 * * *', 'Europe/Berlin', '2026-10-25T01:31', '2026-10-25T00:30'],
    [
      '45 1,2 * * *',
      'America/New_York',
      '2026-11-01T12:00',
      '2026-11-01T07:45',
    ],
    [
      '45 1,2 * * *',
      'America/New_York',
      '2026-11-01T07:00',
      '2026-11-01T06:45',
    ],
    [
      '45 1 * * *',
      'Australia/Lord_Howe',
      '2026-04-05T00:00',
      '2026-04-04T14:45',
    ],
  ])('%s in %s: at %s the last fire was at %s', (cronTime, zone, now, at) => {
    const time = cron(cronTime, zone);
    clock = ms(`${now}Z`);
    expect(fireOf(time, `${now}Z`)).toBe(`${at}:00.000Z`);
  });

  const changes = [
    ['Europe/Berlin', '2026-03-29T01:00Z'],
    ['Europe/Berlin', '2026-10-25T01:00Z'],
    ['America/New_York', '2026-03-08T07:00Z'],
    ['America/New_York', '2026-11-01T06:00Z'],
    ['America/Santiago', '2026-04-05T03:00Z'],
    ['Africa/Casablanca', '2026-03-22T01:00Z'],
    ['Australia/Lord_Howe', '2026-04-04T15:00Z'],
    ['Australia/Lord_Howe', '2026-10-03T15:30Z'],
    ['Australia/Sydney', '2026-04-04T16:00Z'],
    ['Australia/Sydney', '2026-10-03T16:00Z'],
    ['Pacific/Apia', '2011-12-30T10:00Z'],
  ] as const;
  const expressions = [
    '*/17 * * * *',
    '*/20 0,1,2,3 * * *',
    '*/7 2 * * *',
    '45 1,2 * * *',
    '30 0-4 * * *',
    '30 1 * * *',
    '30 2 * * *',
    '0 3 * * *',
  ];

  it.each(changes)(
    'in %s at %s the fires are those of a scheduler that has run for long, whenever it is asked',
    (zone, change) => {
      const from = ms(change) - 30 * HOUR;
      const to = ms(change) + 8 * HOUR;
      for (const expression of expressions) {
        const start = rememberAnswers(expression, zone);
        const fires = followScheduler(start(), from, to);
        const known = start();
        for (
          let now = ms(change) - 5 * HOUR;
          now < ms(change) + 8 * HOUR;
          now += 97 * MINUTE + 1_234
        ) {
          const last = fires.findLast((at) => at <= now);
          clock = now;
          // A process that has just been started, and one that has followed the fires.
          for (const time of [start(), known]) {
            const answer = planOfCron(time).last(now);
            expect([expression, iso(now), iso(answer)]).toEqual([
              expression,
              iso(now),
              iso(last),
            ]);
          }
        }
      }
    },
  );

  it('a job for every second is found quickly, and from then on at once', () => {
    const now = ms('2026-10-25T01:30:00.500Z');
    clock = now;
    const time = cron('* * * * * *', 'Europe/Berlin');
    using plan = vi.spyOn(time, 'getNextDateFrom');
    expect(planOfCron(time).last(now)).toBe(now - 500);
    plan.mockClear();
    for (let call = 1; call <= 100; call += 1) {
      const late = now + call * SECOND;
      clock = late;
      expect(fireAt(planOfCron(time), late)?.at).toBe(late - 500);
    }
    expect(plan).toHaveBeenCalledTimes(100);
  });
});

describe('the slots of an interval', () => {
  it('are its whole multiples', () => {
    const plan = planOfInterval(90 * SECOND);
    const slot = ms('2026-03-02T03:00:00.000Z');
    expect(fireAt(plan, slot)?.at).toBe(slot);
    expect(fireAt(plan, slot + 80 * SECOND)?.at).toBe(slot);
    expect(fireAt(plan, slot - 1)?.at).toBe(slot - 90 * SECOND);
  });
});

it('believes other pods one hour, or one period', () => {
  const now = ms('2026-03-02T03:00:00.000Z');
  const latestOf = (expression: string) =>
    fireAt(planOfCron(cron(expression)), now)!.latest - now;
  expect(latestOf('* * * * *')).toBe(HOUR);
  expect(latestOf('0 3 * * *')).toBe(DAY);
});
