/** Implements `catchUp`: runs a fire that was missed because no pod was running. */
import type { LockOptions } from '../k8s-lock.options.js';
import type { LockClient } from '../lock.client.js';
import { findMissedFire } from './missed-fire.js';
import { planOfCron, type CronTime } from './planned-fires.js';
import type { ScheduledMethod } from './scheduled-methods.js';
import { callForFire } from './scheduler-ticks.js';

/** A method under `catchUp`. */
export interface CatchUp {
  readonly lockName: string;
  readonly options: LockOptions;
  readonly retry: boolean;
  readonly method: ScheduledMethod;
  /** Calls the method as the scheduler does. */
  readonly call: () => unknown;
}

/**
 * A30: runs the latest planned fire before now if the last fire claim in the record is for an earlier one.
 * Without a fire claim in the record nothing was missed: the job is new.
 *
 * @throws LockBackendError, the reason of `closing`, or what the method throws
 */
export async function catchUp(
  client: LockClient,
  { lockName, options, retry, method, call }: CatchUp,
  cronTime: CronTime,
  closing: AbortSignal,
): Promise<void> {
  const fire = await findMissedFire({
    plan: planOfCron(cronTime),
    retry,
    clock: client.engine.clock,
    closing,
    read: () => client.readRecord(lockName, options),
    onRetry: (error) => client.reportRetry(error),
  });
  if (fire) {
    await callForFire(method, fire, call);
  }
}
