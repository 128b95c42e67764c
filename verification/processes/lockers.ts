/** Starts processes that take locks on the API server of a test. */
import type { LockerCalls } from './programs/locker.js';
import type { LocksOptions } from './programs/locks.js';
import { TestProcess } from './test-process.js';

export type Locker = TestProcess<LockerCalls>;

/** @param wallClock hours by which the process's wall clock is wrong, or `stepped` forth and back all the time */
export async function startLocker(
  options: LocksOptions,
  wallClock: 'stepped' | number = 0,
): Promise<Locker> {
  const locker = await TestProcess.start<LockerCalls>(
    'verification/processes/programs/locker',
  );
  await locker.call('open', options, wallClock);
  return locker;
}
