/** Makes up for a fire that was missed because no pod ran: `catchUp`. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LockOptions } from '../k8s-lock.options.js';
import { FINAL_REASONS, LockBackendError } from '../lock.errors.js';
import type { LockService } from '../lock.service.js';
import { fireAt, planOfCron, type CronTime } from './planned-fires.js';
import type { CronOptions } from './schedule.metadata.js';
import { callForFire, type CronJob } from './scheduler-ticks.js';

/** A method whose missed fires are made up for. */
export interface CatchUp {
  readonly lockName: string;
  readonly options: LockOptions;
  readonly retry: boolean;
  readonly cron: CronOptions;
  /** Calls the method, as the scheduler does. */
  readonly call: () => unknown;
}

/** Whether this is the job of the method, or one with the same times, which will do. */
export function isJobOf(
  { cron }: CatchUp,
  name: string,
  { cronTime }: CronJob,
): boolean {
  return cron.name === undefined
    ? cronTime.source === cron.cronTime &&
        (cron.timeZone ?? cronTime.timeZone) === cronTime.timeZone &&
        (cron.utcOffset ?? cronTime.utcOffset) === cronTime.utcOffset
    : cron.name === name;
}

/** Milliseconds between two looks at the record, when the first of them fails. */
const RETRY_INTERVAL = 1_000;

/**
 * Runs the latest planned fire before now if the record says that an earlier one was the last to be
 * run. A record that knows of none says nothing about missed ones: the job is new. Tries until the next
 * fire is due, or `closing` aborts.
 *
 * @throws LockBackendError, or what the method throws
 */
export async function catchUp(
  locks: LockService,
  { lockName, options, retry, call }: CatchUp,
  cronTime: CronTime,
  closing: AbortSignal,
): Promise<void> {
  const plan = planOfCron(cronTime);
  const now = Date.now();
  const missed = plan.last(now);
  const lastTry = plan.next(now) - RETRY_INTERVAL;
  const find = async (): ReturnType<LockService['findLastClaim']> => {
    try {
      return await locks.findLastClaim(lockName, options);
    } catch (error) {
      if (!isPassing(error) || closing.aborted || Date.now() > lastTry) {
        throw error;
      }
      await sleep(RETRY_INTERVAL, undefined, { signal: closing, ref: false });
      return find();
    }
  };
  const claimed = await find();
  if (missed === undefined || claimed === undefined) {
    return;
  }
  const isMissed =
    claimed.at < missed ||
    (claimed.at === missed &&
      (claimed.state === 'open' ||
        claimed.state === 'claimed' ||
        (claimed.state === 'begun' && retry)));
  if (isMissed) {
    const latest = fireAt(plan, now)?.latest ?? missed;
    await callForFire({ at: missed, latest }, call);
  }
}

function isPassing(error: unknown): boolean {
  return (
    error instanceof LockBackendError && !FINAL_REASONS.includes(error.reason)
  );
}
