/** Calls a decorated method: finds the LockService, the names of the locks and the arguments. */
import { hasOtherCopies } from '../copies.js';
import { clientOf } from '../lock.client.js';
import type { LockConfigurationError } from '../lock.errors.js';
import type { LockService } from '../lock.service.js';
import { runInCall, type MethodCall } from '../lock/acquire/request-scope.js';
import {
  logConfigurationError,
  refusalOf,
  refuseCall,
} from './configuration-log.js';
import type { OnLocked } from '../k8s-lock.options.js';
import { findClaim, findFirePolicy, type FirePolicy } from './fire-policy.js';
import { currentExchange } from '../http/http-exchange.js';
import { bindLate, findLockService } from './lock-service.injection.js';
import { LockedCall, runWithLocks } from './run-with-locks.js';
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

/** The part of a call that depends only on one `@WithLeaseLock` and the class of the instance. */
interface LockPlan {
  readonly lock: MethodLock;
  /** Undefined if each call has its own name, or is refused because of it. */
  readonly name: string | undefined;
  readonly onLocked: OnLocked;
  /** Undefined if calls claim no fire. */
  readonly fire: FirePolicy | undefined;
}

/** The part of a call that depends only on the decorated method and the class of the instance. */
interface MethodPlan {
  readonly label: string;
  /** The prototype of the class, which may be a controller. */
  readonly controller: object;
  readonly method: LockedMethod['method'];
  /** Outermost decorator first. */
  readonly locks: readonly LockPlan[];
  readonly lowest: MethodLock;
  /** False if another decorator splits the locks and the lowest one belongs to another wrapper. */
  readonly hasInnermost: boolean;
  /** The indexes of the parameters under `@HeldLock()`. */
  readonly lockParameters: readonly number[];
}

const plans = new WeakMap<LockedMethod, WeakMap<object, MethodPlan>>();

/** Computed once per class, at the first call: by then every decorator of the class has run. */
function planOf(locked: LockedMethod, instance: object): MethodPlan {
  const prototype: object = Reflect.getPrototypeOf(instance) ?? instance;
  const known = plans.get(locked) ?? new WeakMap<object, MethodPlan>();
  let plan = known.get(prototype);
  if (plan === undefined) {
    const { locks, method } = locked;
    const lowest = locks.at(-1)!;
    plan = Object.freeze({
      label: describeMethod(lowest.prototype, lowest.key),
      controller: prototype,
      method,
      locks: locks.map((lock) => ({
        lock,
        name:
          typeof lock.name === 'string' ? lock.name || undefined : undefined,
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

/** Calls the method under its locks. Without a LockService it rejects; it never runs the method unlocked. */
export async function callUnderLocks(
  locked: LockedMethod,
  instance: unknown,
  args: readonly unknown[],
): Promise<unknown> {
  if (typeof instance !== 'object' || instance === null) {
    const lowest = locked.locks.at(-1)!;
    const label = describeMethod(lowest.prototype, lowest.key);
    const error = withoutInstance(label);
    logConfigurationError(lowest, label, error, false);
    throw error;
  }
  const plan = planOf(locked, instance);
  const { label, lowest } = plan;
  return runInCall(label, async (call) => {
    try {
      return await acquireAndCall(plan, instance, args, call);
    } catch (error) {
      logConfigurationError(lowest, label, error, call.hasBegun);
      currentExchange()?.answerOf(plan.controller, lowest)?.refuse(error);
      throw error;
    }
  });
}

async function acquireAndCall(
  {
    label,
    controller,
    locks,
    method,
    lowest,
    hasInnermost,
    lockParameters,
  }: MethodPlan,
  instance: object,
  args: readonly unknown[],
  methodCall: MethodCall,
): Promise<unknown> {
  const bound = findLockService(instance);
  if (bound === undefined) {
    refuseConstructing(lowest, instance);
  }
  const requests = locks.map(({ lock, name, onLocked, fire }) => ({
    name: name ?? nameOf(lock, instance, args),
    onLocked,
    options: lock.options,
    claim: fire && findClaim(lock, fire, instance),
  }));
  const skipped = (): unknown =>
    currentExchange()?.answerOf(controller, lowest)?.skip();
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
  return runWithLocks(new LockedCall(client, requests, skipped), work);
}

function nameOf(
  lock: MethodLock,
  instance: object,
  args: readonly unknown[],
): string {
  const name: unknown =
    typeof lock.name === 'function'
      ? Reflect.apply(lock.name, instance, args)
      : lock.name;
  return checkName(name, () => describeMethod(lock.prototype, lock.key));
}

/** The error of a call of a decorated method whose `this` is no object. */
export function withoutInstance(label: string): LockConfigurationError {
  return refusalOf(
    `${label} was called without its instance as "this", so it did not run: call it as a method, or bind it`,
  );
}

/** Finds the service of an instance that Nest has not injected, and that no startup pass has found. */
export async function requireLateService(
  { key }: Pick<MethodLock, 'key'>,
  instance: object,
): Promise<Partial<LockService>> {
  const service = await bindLate(instance);
  if (service === undefined) {
    const copies = hasOtherCopies()
      ? '. Or the decorator and the module come from different copies of the package: the log names the copies'
      : '';
    refuseCall(
      `${describeMethod(instance, key)} has no LockService, so it did not run: its instance was made with new, or as a copy, or by a useFactory with a scope, or K8sLockModule.forRoot() is not imported. List the class in the providers of a module, or make the instance with moduleRef.create()${copies}`,
    );
  }
  return service;
}

/** The number of stack frames that are searched for a constructor. */
const DEEPEST_CONSTRUCTOR = 50;

/** @throws LockConfigurationError if the stack shows that a constructor of the instance is running */
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
