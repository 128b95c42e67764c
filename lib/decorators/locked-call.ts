/** One call of a decorated method: finds its LockService, its lock's name and its arguments. */
import { LockConfigurationError } from '../lock.errors.js';
import type { LockService } from '../lock.service.js';
import type { LeaseLock } from '../lock/lease-lock.js';
import { findClaim } from './fire-policy.js';
import { findLockService } from './lock-service.binding.js';
import { runLocked } from './locked-run.js';
import {
  describeMethod,
  describeNameFault,
  findLockParameters,
  findOnLocked,
  isInnermost,
  type MethodLock,
} from './method-lock.metadata.js';
import { keepTick } from './scheduler-ticks.js';

/** Calls `method` under its lock; without a LockService it rejects, and never runs the method unlocked. */
export async function callUnderLock(
  lock: MethodLock,
  method: (...args: unknown[]) => unknown,
  instance: unknown,
  args: readonly unknown[],
): Promise<unknown> {
  const service = requireLockService(lock, instance);
  const name = makeName(lock, instance, args);
  // Both of them look at the moment of the call, so nothing may be awaited before.
  const claim = findClaim(lock);
  const goOn = isInnermost(lock) ? undefined : keepTick();
  const fire = claim && new Date(claim.at);
  return runLocked({
    enter: async (signal) =>
      service.enter(
        name,
        findOnLocked(lock),
        { ...lock.options, signal },
        claim,
      ),
    work: (held) => {
      const call = (): unknown =>
        Reflect.apply(method, instance, fillIn(lock, args, held));
      return goOn ? goOn(call) : call();
    },
    ended: (held, run) => service.tellEnd(held, { ...run, fire }),
  });
}

function requireLockService(lock: MethodLock, instance: unknown): LockService {
  if (typeof instance !== 'object' || instance === null) {
    throw new LockConfigurationError([
      `${describeMethod(lock.prototype, lock.key)} was called without its instance as "this", so it did not run: call it as a method, or bind it`,
    ]);
  }
  const service = findLockService(instance);
  if (service === undefined) {
    throw new LockConfigurationError([
      `${describeMethod(instance, lock.key)} has no LockService, so it did not run: Nest did not make its instance, or K8sLockModule.forRoot() is not imported. List the class in the providers of a module, or make the instance with moduleRef.create()`,
    ]);
  }
  return service;
}

function makeName(
  lock: MethodLock,
  instance: unknown,
  args: readonly unknown[],
): string {
  const name: unknown =
    typeof lock.name === 'function'
      ? Reflect.apply(lock.name, instance, args)
      : lock.name;
  if (typeof name !== 'string' || name === '') {
    throw new LockConfigurationError([
      `${describeMethod(lock.prototype, lock.key)}: the lock name ${describeNameFault(name)}`,
    ]);
  }
  return name;
}

function fillIn(
  lock: MethodLock,
  args: readonly unknown[],
  held: LeaseLock,
): unknown[] {
  const filled = [...args];
  for (const index of findLockParameters(lock.prototype, lock.key)) {
    filled[index] = held;
  }
  return filled;
}
