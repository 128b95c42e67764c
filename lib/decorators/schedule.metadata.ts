/** What `@Cron`, `@Interval` and `@Timeout` leave on a method. Only names are known here: @nestjs/schedule need not be installed. */

const SCHEDULER_TYPE = 'SCHEDULER_TYPE';
const CRON_OPTIONS = 'SCHEDULE_CRON_OPTIONS';
const INTERVAL_OPTIONS = 'SCHEDULE_INTERVAL_OPTIONS';

/** The values under {@link SCHEDULER_TYPE}. */
const CRON = 1;
const INTERVAL = 3;

/** As much of what `@Cron` was given as matters here. */
export interface CronOptions {
  readonly cronTime: unknown;
  readonly name?: string;
  readonly timeZone?: string | null;
  readonly utcOffset?: number | null;
  readonly disabled?: boolean;
  /** Milliseconds after the start of the application during which it does not fire. */
  readonly initialDelay?: number;
}

/** When a method is called by the scheduler; `once` = under `@Timeout`. */
export type Schedule =
  | { readonly type: 'cron'; readonly options: CronOptions }
  /** `period` in milliseconds. */
  | { readonly type: 'interval'; readonly period: number }
  | { readonly type: 'once' };

/** Undefined for a method that no scheduler calls. */
export function findSchedule(method: object): Schedule | undefined {
  switch (Reflect.getMetadata(SCHEDULER_TYPE, method)) {
    case undefined:
      return undefined;
    case CRON:
      return {
        type: 'cron',
        options: Reflect.getMetadata(CRON_OPTIONS, method),
      };
    case INTERVAL: {
      const { timeout } = Reflect.getMetadata(INTERVAL_OPTIONS, method);
      return { type: 'interval', period: timeout };
    }
    default:
      return { type: 'once' };
  }
}
