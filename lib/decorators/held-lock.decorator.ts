/** `@HeldLock`: fills a parameter of a method under `@WithLeaseLock` with its lock. */
import { LockConfigurationError } from '../lock.errors.js';
import { refuseBareUse } from './decorator-use.js';
import { addLockParameter } from './lock.metadata.js';

/**
 * Fills a parameter of a method under `@WithLeaseLock` with the {@link LeaseLock} of the call; with several
 * locks, that of the lowest decorator, which is lost when any of them is. It is the same as `currentLock()`
 * inside the method, but visible in the signature. A value that a caller passes there is replaced: make the
 * parameter optional, so that callers can leave it out. Works beside `@Body()`, `@Param()`, `@Payload()`.
 *
 * Applied to a constructor or a static method it throws `LockConfigurationError`; on a method
 * without `@WithLeaseLock` the application does not start.
 *
 * @example
 * class Reports { @Cron('0 3 * * *') @WithLeaseLock('nightly-report')
 *   async nightly(@HeldLock() lock?: LeaseLock) {
 *     for (const page of pages) {
 *       lock?.assertHeld(); // throws LockLostError once the lock is lost
 *       await this.render(page);
 *     }
 *   }
 * }
 */
export function HeldLock(): ParameterDecorator {
  refuseBareUse('HeldLock', arguments[0], arguments[1]);
  return (target, key, index) => {
    if (key === undefined || typeof target === 'function') {
      const { name } = target as { name?: unknown };
      const member = key === undefined ? 'constructor' : String(key);
      throw new LockConfigurationError([
        `@HeldLock() cannot be applied to a parameter of ${String(name)}.${member}: it is for the parameters of methods under @WithLeaseLock(), neither static nor the constructor`,
      ]);
    }
    addLockParameter(target, key, index);
  };
}
