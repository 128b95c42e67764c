/** One call of a decorated method: finds its LockService, its locks' names and its arguments. */
import { hasOtherCopies } from '../copies.js';
import type { LockRequest } from '../lock.client.js';
import { clientOf, type LockService } from '../lock.service.js';
import { runInCall, type MethodCall } from '../lock/acquire/request-scope.js';
import { logConfigurationError, refuseCall } from './configuration-log.js';
import type { OnLocked } from '../k8s-lock.options.js';
import { findClaim, findFirePolicy, type FirePolicy } from './fire-policy.js';
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

/** What follows from one `@WithLeaseLock` and the class of the instance alone. */
interface LockPlan {
  readonly lock: MethodLock;
  readonly onLocked: OnLocked;
  /** Undefined = a call claims no fire. */
  readonly fire: FirePolicy | undefined;
}

/** What follows from a decorated method and the class of the instance alone. */
interface MethodPlan {
  readonly label: string;
  readonly method: LockedMethod['method'];
  /** The outermost decorator's first. */
  readonly locks: readonly LockPlan[];
  readonly lowest: MethodLock;
  /** False where another decorator has come between this one and one below. */
  readonly hasInnermost: boolean;
  /** The indexes of the parameters under `@HeldLock()`. */
  readonly lockParameters: readonly number[];
}

const plans = new WeakMap<LockedMethod, WeakMap<object, MethodPlan>>();

/** Computed once for each class. Every decorator of the class has run when one of its instances is called. */
function planOf(locked: LockedMethod, instance: object): MethodPlan {
  const prototype: object = Reflect.getPrototypeOf(instance) ?? instance;
  const known = plans.get(locked) ?? new WeakMap<object, MethodPlan>();
  let plan = known.get(prototype);
  if (plan === undefined) {
    const { locks, method } = locked;
    const lowest = locks.at(-1)!;
    plan = Object.freeze({
      label: describeMethod(lowest.prototype, lowest.key),
      method,
      locks: locks.map((lock) => ({
        lock,
        onLocked: findOnLocked(lock, instance),
        fire: findFirePolicy(lock, instance),
      })),
      lowest,
      hasInnermost: isInnermost(lowest),
      lockParameters: findLockParameters(lowest.prototype, lowest.key),
    });
    plans.set(locked, known.set(prototype, plan));
  }
  return plan;
}

/** Calls the method under its locks; without a LockService it rejects, and never runs the method unlocked. */
export async function callUnderLocks(
  locked: LockedMethod,
  instance: unknown,
  args: readonly unknown[],
): Promise<unknown> {
  if (typeof instance !== 'object' || instance === null) {
    return callWithoutInstance(locked.locks.at(-1)!);
  }
  const plan = planOf(locked, instance);
  const { label, lowest } = plan;
  return runInCall(label, async (call) => {
    try {
      return await acquireAndCall(plan, instance, args, call);
    } catch (error) {
      logConfigurationError(lowest, label, error, call.hasBegun);
      throw error;
    }
  });
}

async function acquireAndCall(
  { label, locks, method, lowest, hasInnermost, lockParameters }: MethodPlan,
  instance: object,
  args: readonly unknown[],
  methodCall: MethodCall,
): Promise<unknown> {
  const bound = findLockService(instance);
  if (bound === undefined) {
    refuseConstructing(lowest, instance);
  }
  const requests = locks.map((lock) => makeRequest(lock, instance, args));
  const exchange = currentExchange();
  const skipped = (): unknown =>
    exchange?.isRoutedTo(lowest) ? exchange.skip(lowest.key) : undefined;
  const work = (held: unknown): unknown => {
    methodCall.hasBegun ||= hasInnermost;
    const filled = [...args];
    for (const index of lockParameters) {
      filled[index] = held;
    }
    return Reflect.apply(method, instance, filled);
  };
  const service = bound ?? (await requireLateService(lowest, instance));
  const client = clientOf(service);
  if (client === undefined) {
    return runOnStandIn(
      { standIn: service, requests, skipped, describe: () => label },
      work,
    );
  }
  return runWithLocks(new LockedRun(client, requests, skipped), work);
}

function makeRequest(
  { lock, onLocked, fire }: LockPlan,
  instance: object,
  args: readonly unknown[],
): LockRequest {
  const name: unknown =
    typeof lock.name === 'function'
      ? Reflect.apply(lock.name, instance, args)
      : lock.name;
  return {
    name:
      typeof name === 'string' && name !== ''
        ? name
        : checkName(name, () => describeMethod(lock.prototype, lock.key)),
    onLocked,
    options: lock.options,
    claim: fire && findClaim(lock, fire, instance),
  };
}

function callWithoutInstance(lowest: MethodLock): never {
  const label = describeMethod(lowest.prototype, lowest.key);
  try {
    return refuseCall(
      `${label} was called without its instance as "this", so it did not run: call it as a method, or bind it`,
    );
  } catch (error) {
    logConfigurationError(lowest, label, error, false);
    throw error;
  }
}

/** For an instance that Nest has not injected, and that no startup pass has met. */
async function requireLateService(
  { key }: MethodLock,
  instance: object,
): Promise<Partial<LockService>> {
  const service = await bindLate(instance);
  if (service === undefined) {
    const copies = hasOtherCopies()
      ? '. Or its decorator is of another copy of the package than the module: the log names the copies'
      : '';
    refuseCall(
      `${describeMethod(instance, key)} has no LockService, so it did not run: its instance was made with new, or by a useFactory with a scope, or K8sLockModule.forRoot() is not imported. List the class in the providers of a module, or make the instance with moduleRef.create()${copies}`,
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
