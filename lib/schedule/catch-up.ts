/** Makes up for a fire that was missed because no pod ran: `catchUp`. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LockOptions } from '../k8s-lock.options.js';
import { FINAL_REASONS, LockBackendError } from '../lock.errors.js';
import type { LockClient } from '../lock.client.js';
import { isMissed } from './missed-fire.js';
import { fireAt, planOfCron, type CronTime } from './planned-fires.js';
import type { ScheduledMethod } from './scheduled-methods.js';
import { callForFire } from './scheduler-ticks.js';

/** A method whose missed fires are made up for. */
export interface CatchUp {
  readonly lockName: string;
  readonly options: LockOptions;
  readonly retry: boolean;
  readonly method: ScheduledMethod;
  /** Calls the method, as the scheduler does. */
  readonly call: () => unknown;
}

/** Milliseconds between two looks at the record, when the first of them fails; twice as many each time, up to the longest. */
const RETRY_INTERVAL = 1_000;
const LONGEST_RETRY_INTERVAL = 60_000;

/**
 * Runs the latest planned fire before now if the record says that an earlier one was the last to be
 * run. A record that knows of none says nothing about missed ones: the job is new. Tries until the next
 * fire is due, or `closing` aborts.
 *
 * @throws LockBackendError, or what the method throws
 */
export async function catchUp(
  client: LockClient,
  { lockName, options, retry, method, call }: CatchUp,
  cronTime: CronTime,
  closing: AbortSignal,
): Promise<void> {
  const plan = planOfCron(cronTime);
  const now = Date.now();
  const fire = fireAt(plan, now);
  const lastTry = plan.next(now) - RETRY_INTERVAL;
  const find = async (
    interval: number,
  ): ReturnType<LockClient['readRecord']> => {
    try {
      return await client.readRecord(lockName, options);
    } catch (error) {
      if (!isPassing(error) || closing.aborted || Date.now() > lastTry) {
        throw error;
      }
      client.reportRetry(error);
      const delay = Math.min(interval, Math.max(lastTry - Date.now(), 0));
      await sleep(delay, undefined, { signal: closing, ref: false });
      return find(Math.min(2 * interval, LONGEST_RETRY_INTERVAL));
    }
  };
  const lease = await find(RETRY_INTERVAL);
  if (fire && isMissed(fire, retry, lease)) {
    await callForFire(method, fire, call);
  }
}

function isPassing(error: unknown): error is LockBackendError {
  return (
    error instanceof LockBackendError && !FINAL_REASONS.includes(error.reason)
  );
}
