/** One call of a decorated method: finds its LockService, its locks' names and its arguments. */
import type { LockRequest } from '../lock.client.js';
import { clientOf, type LockService } from '../lock.service.js';
import { runInCall, type MethodCall } from '../lock/acquire/request-scope.js';
import { logConfigurationError, refuseCall } from './configuration-log.js';
import { findClaim } from './fire-policy.js';
import { currentExchange } from '../http/http-exchange.js';
import { bindLate } from './late-binding.js';
import { findLockService } from './lock-service.injection.js';
import { LockedRun, runWithLocks } from './run-with-locks.js';
import {
  checkName,
  describeClass,
  describeMethod,
  findLockParameters,
  findOnLocked,
  isInnermost,
  type LockedMethod,
  type MethodLock,
} from './lock.metadata.js';
import { runOnStandIn } from './stand-in.js';

/** Calls the method under its locks; without a LockService it rejects, and never runs the method unlocked. */
export async function callUnderLocks(
  locked: LockedMethod,
  instance: unknown,
  args: readonly unknown[],
): Promise<unknown> {
  const lowest = locked.locks.at(-1)!;
  const label = describeMethod(lowest.prototype, lowest.key);
  return runInCall(label, async (call) => {
    try {
      return await acquireAndCall(locked, instance, args, call);
    } catch (error) {
      logConfigurationError(lowest, label, error, call.hasBegun);
      throw error;
    }
  });
}

async function acquireAndCall(
  { locks, method }: LockedMethod,
  instance: unknown,
  args: readonly unknown[],
  methodCall: MethodCall,
): Promise<unknown> {
  const lowest = locks.at(-1)!;
  const owner = requireInstance(lowest, instance);
  const bound = findLockService(owner);
  if (bound === undefined) {
    refuseConstructing(lowest, owner);
  }
  const requests = locks.map((lock) => makeRequest(lock, owner, args));
  const exchange = currentExchange();
  const skipped = (): unknown =>
    exchange?.isRoutedTo(lowest) ? exchange.skip(lowest.key) : undefined;
  const work = (held: unknown): unknown => {
    methodCall.hasBegun ||= isInnermost(lowest);
    return Reflect.apply(method, instance, fillIn(lowest, args, held));
  };
  const service = bound ?? (await requireLateService(lowest, owner));
  const client = clientOf(service);
  if (client === undefined) {
    const describe = (): string => describeMethod(lowest.prototype, lowest.key);
    return runOnStandIn(
      { standIn: service, requests, skipped, describe },
      work,
    );
  }
  return runWithLocks(new LockedRun(client, requests, skipped), work);
}

function makeRequest(
  lock: MethodLock,
  instance: object,
  args: readonly unknown[],
): LockRequest {
  const name: unknown =
    typeof lock.name === 'function'
      ? Reflect.apply(lock.name, instance, args)
      : lock.name;
  return {
    name: checkName(name, () => describeMethod(lock.prototype, lock.key)),
    onLocked: findOnLocked(lock, instance),
    options: lock.options,
    claim: findClaim(lock, instance),
  };
}

function requireInstance(lock: MethodLock, instance: unknown): object {
  if (typeof instance !== 'object' || instance === null) {
    refuseCall(
      `${describeMethod(lock.prototype, lock.key)} was called without its instance as "this", so it did not run: call it as a method, or bind it`,
    );
  }
  return instance;
}

/** For an instance that Nest has not injected, and that no startup pass has met. */
async function requireLateService(
  { key }: MethodLock,
  instance: object,
): Promise<Partial<LockService>> {
  const service = await bindLate(instance);
  if (service === undefined) {
    refuseCall(
      `${describeMethod(instance, key)} has no LockService, so it did not run: its instance was made with new, or by a useFactory with a scope, or K8sLockModule.forRoot() is not imported. List the class in the providers of a module, or make the instance with moduleRef.create()`,
    );
  }
  return service;
}

/** How far down the stack a constructor is looked for. */
const DEEPEST_CONSTRUCTOR = 50;

/** @throws LockConfigurationError when a constructor of the instance is under way, as the stack says */
function refuseConstructing({ key }: MethodLock, instance: object): void {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = DEEPEST_CONSTRUCTOR;
  const { stack = '' } = new Error();
  Error.stackTraceLimit = stackTraceLimit;
  const classes = new Set<string>();
  for (
    let each: object | null = Reflect.getPrototypeOf(instance);
    each !== null;
    each = Reflect.getPrototypeOf(each)
  ) {
    classes.add(describeClass(each));
  }
  for (const [, name = ''] of stack.matchAll(/^ +at new (?:.*\.)?(\S+) \(/gm)) {
    if (classes.has(name)) {
      refuseCall(
        `${describeMethod(instance, key)} was called in the constructor of ${name}, where Nest has not injected the LockService yet, so it did not run: call it in onModuleInit() or later`,
      );
    }
  }
}

function fillIn(
  lowest: MethodLock,
  args: readonly unknown[],
  held: unknown,
): unknown[] {
  const filled = [...args];
  for (const index of findLockParameters(lowest.prototype, lowest.key)) {
    filled[index] = held;
  }
  return filled;
}
