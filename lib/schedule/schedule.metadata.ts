/** Reads the metadata of `@Cron`, `@Interval` and `@Timeout` by name, so that @nestjs/schedule need not be installed. */

const SCHEDULER_TYPE = 'SCHEDULER_TYPE';
const SCHEDULER_NAME = 'SCHEDULER_NAME';
const CRON_OPTIONS = 'SCHEDULE_CRON_OPTIONS';
const INTERVAL_OPTIONS = 'SCHEDULE_INTERVAL_OPTIONS';

/** The values under {@link SCHEDULER_TYPE}. */
const CRON = 1;
const INTERVAL = 3;

/** The used options of `@Cron`. */
export interface CronOptions {
  readonly cronTime: unknown;
  readonly name?: string;
  readonly timeZone?: string | null;
  readonly utcOffset?: number | null;
  readonly disabled?: boolean;
  /** Milliseconds after the start of the application before the first fire. */
  readonly initialDelay?: number;
}

/** The schedule of a method; `once` is that of `@Timeout`. */
export type Schedule =
  | { readonly type: 'cron'; readonly options: CronOptions }
  /** `period` in milliseconds. */
  | {
      readonly type: 'interval';
      readonly period: number;
      readonly name: string | undefined;
    }
  | { readonly type: 'once' };

/** Schedules by the prototype of the class and the key. */
const noted = new WeakMap<object, Map<string | symbol, Schedule>>();

/** Stores the schedule that the scheduler reads at startup: a later replacement of the method has no metadata. */
export function noteSchedule(prototype: object, key: string | symbol): void {
  const schedule = findSchedule(prototype, key);
  if (schedule !== undefined) {
    const keys = noted.get(prototype) ?? new Map<string | symbol, Schedule>();
    noted.set(prototype, keys.set(key, schedule));
  }
}

/**
 * Undefined for a method that no scheduler calls. Like the scheduler, it reads the metadata of the final
 * method, after all decorators.
 *
 * @param target an instance, or the prototype of its class
 */
export function findSchedule(
  target: object,
  key: string | symbol,
): Schedule | undefined {
  return (
    noted.get(findClassPrototype(target, key))?.get(key) ??
    readSchedule(Reflect.get(target, key))
  );
}

/**
 * The prototype of the class of a target. A decorator may call the method with an object that inherits
 * from the instance, so it is not always the next one.
 *
 * @param target an instance, or the prototype of its class
 */
export function findClassPrototype(
  target: object,
  key: string | symbol,
): object {
  for (
    let each: object | null = target;
    each !== null && each !== Object.prototype;
    each = Reflect.getPrototypeOf(each)
  ) {
    // A prototype that was written as an object literal has no constructor.
    if (noted.get(each)?.has(key) || isClassPrototype(each)) {
      return each;
    }
  }
  return Reflect.getPrototypeOf(target) ?? target;
}

function isClassPrototype(value: object): boolean {
  try {
    const own = Reflect.getOwnPropertyDescriptor(value, 'constructor');
    return own?.value?.prototype === value;
  } catch {
    return false; // a Proxy that throws
  }
}

/** The schedule in the metadata of a function. */
export function readSchedule(method: unknown): Schedule | undefined {
  if (typeof method !== 'function') {
    return undefined;
  }
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
      const name = Reflect.getMetadata(SCHEDULER_NAME, method);
      return { type: 'interval', period: timeout, name };
    }
    default:
      return { type: 'once' };
  }
}
