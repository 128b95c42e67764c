/** Distinguishes the calls of the scheduler from calls by hand, and determines the fire of each. */
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  fireAt,
  planOfCron,
  planOfInterval,
  type CronTime,
  type Fire,
  type Plan,
} from './planned-fires.js';
import type {
  InstanceMethod,
  MethodPlace,
  ScheduledMethod,
  ScheduledMethods,
} from './scheduled-methods.js';

/** The property of a `CronJob` with its callbacks. */
const CALLBACKS = '_callbacks';
/** The properties of a Node.js timer with its callback and its period in milliseconds. */
const CALLBACK = '_onTimeout';
const PERIOD = '_repeat';

/** The used part of `CronJob` of the package `cron`. */
export interface CronJob {
  readonly cronTime: CronTime;
  readonly [CALLBACKS]?: unknown;
  /** A new object for each fire of the job's own timer. */
  lastDate(): Date | null;
  /** Each fire calls this, too, to schedule the next one, before it calls `fireOnTick`. */
  start(): void;
  fireOnTick(...args: unknown[]): unknown;
}

/** The used part of a Node.js timer. Fake timers may lack it, and a browser's timer is a number. */
interface Timer {
  [CALLBACK]?: unknown;
  readonly [PERIOD]?: unknown;
}

/** The used part of the SchedulerRegistry of @nestjs/schedule. */
export interface SchedulerRegistry {
  getCronJobs(): ReadonlyMap<string, CronJob>;
  addCronJob(name: string, job: CronJob): void;
  getIntervals(): readonly string[];
  getInterval(name: string): Timer;
  addInterval(name: string, timer: Timer): void;
}

/** One call of the scheduler, stored in its async context. */
interface Tick {
  /** The method that the scheduler calls; undefined for a job that the application has added to the registry. */
  readonly method: ScheduledMethod | undefined;
  readonly fire: () => Fire | undefined;
  /** The number of unsettled promises for which the scheduler waits. */
  waiting: number;
  /** Whether the call has reached the lock of the method. */
  isReached: boolean;
}

type Callback = (this: unknown, ...args: unknown[]) => unknown;

const ticks = new AsyncLocalStorage<Tick>();
const followed = new WeakSet<object>();

/** The state of a scheduled method outside of the async context. */
interface MethodState {
  /** The latest call of the scheduler. */
  tick?: Tick;
  /** Set for an interval whose timer can't be wrapped: its calls can't be distinguished from calls by hand. */
  unfollowed?: {
    readonly plan: Plan;
    /** The function that made the timer. If it was a fake, its timers end when it is removed. */
    readonly setInterval: unknown;
  };
}

/** States by the instance and the key. */
const states = new WeakMap<object, Map<string | symbol, MethodState>>();

function stateOf({ instance, key }: ScheduledMethod): MethodState {
  const all = states.get(instance) ?? new Map<string | symbol, MethodState>();
  states.set(instance, all);
  const state = all.get(key) ?? {};
  all.set(key, state);
  return state;
}

/** The state for a call whose `this` is the instance, or inherits from it. */
function findState({ instance, key }: InstanceMethod): MethodState | undefined {
  for (
    let each: object | null = instance;
    each !== null;
    each = Reflect.getPrototypeOf(each)
  ) {
    const state = states.get(each)?.get(key);
    if (state !== undefined) {
      return state;
    }
  }
  return undefined;
}

const REGISTRY_METHODS = [
  'getCronJobs',
  'addCronJob',
  'addInterval',
  'addTimeout',
];
const ORCHESTRATOR_METHODS = ['addCron', 'addInterval', 'addTimeout'];

/** Whether a value is a class whose instances a check finds; it is asked before any instance is read. */
export function isClassOf(
  value: unknown,
  isInstance: (value: unknown) => boolean,
): boolean {
  try {
    return typeof value === 'function' && isInstance(value.prototype);
  } catch {
    return false; // a Proxy that throws
  }
}

/** Whether a value is the registry. Checked by its methods, since its class may come from any copy of its package. */
export function isSchedulerRegistry(
  value: unknown,
): value is SchedulerRegistry {
  return hasMethods(value, REGISTRY_METHODS);
}

/** Whether a value is the SchedulerOrchestrator of @nestjs/schedule, which adds the jobs of methods to the registry. */
export function isSchedulerOrchestrator(value: unknown): value is object {
  return hasMethods(value, ORCHESTRATOR_METHODS);
}

function hasMethods(value: unknown, names: readonly string[]): boolean {
  try {
    return (
      typeof value === 'object' &&
      value !== null &&
      names.every((name) => typeof Reflect.get(value, name) === 'function')
    );
  } catch {
    return false; // a Proxy that throws
  }
}

export function isMethod(
  { prototype, key }: MethodPlace,
  other: MethodPlace,
): boolean {
  return prototype === other.prototype && key === other.key;
}

/** The job or interval that calls a method. */
export interface FollowedJob {
  readonly method: ScheduledMethod;
  readonly plan: Plan;
  /** Undefined for an interval. */
  readonly cronTime?: CronTime;
}

/**
 * A34: wraps the callbacks of all present and future jobs and intervals of a registry, and calls back for each
 * that calls a method. The wrapper is needed because a method cannot see that the scheduler calls it; the
 * registry wraps callbacks in the same way.
 */
export function followScheduler(
  registry: SchedulerRegistry,
  methods: ScheduledMethods,
  onJob: (job: FollowedJob) => void,
): void {
  const follow = (name: string, job: CronJob): void => {
    const { cronTime } = job;
    const method = methods.ofCronJob(name, cronTime);
    followJob(job, method);
    if (method) {
      onJob({ method, plan: planOfCron(cronTime), cronTime });
    }
  };
  const followInterval = (name: string, timer: Timer): void => {
    const method = methods.ofInterval(name);
    const period =
      method?.schedule.type === 'interval'
        ? method.schedule.period
        : timer[PERIOD];
    if (typeof period !== 'number') {
      return;
    }
    const plan = planOfInterval(period);
    followTimer(timer, plan, method);
    if (method) {
      onJob({ method, plan });
    }
  };
  const addCronJob = registry.addCronJob.bind(registry);
  registry.addCronJob = (name, job) => {
    addCronJob(name, job);
    follow(name, job);
  };
  const addInterval = registry.addInterval.bind(registry);
  registry.addInterval = (name, timer) => {
    addInterval(name, timer);
    followInterval(name, timer);
  };
  for (const [name, job] of registry.getCronJobs()) {
    follow(name, job);
  }
  for (const name of registry.getIntervals()) {
    followInterval(name, registry.getInterval(name));
  }
}

function followJob(job: CronJob, method: ScheduledMethod | undefined): void {
  if (followed.has(job)) {
    return; // an application with two LockServices
  }
  followed.add(job);
  const fireOnTick = job.fireOnTick.bind(job);
  const start = job.start.bind(job);
  let lastDate = job.lastDate();
  // If the next fire is due as well, `cron` calls for it first, and for both fires with one date.
  let isOwed = false;
  let isStarting = false;
  job.start = () => {
    isOwed = job.lastDate() !== lastDate;
    isStarting = true;
    try {
      start();
    } finally {
      isStarting = false;
    }
  };
  job.fireOnTick = (...args) => {
    const { cronTime } = job;
    const date = job.lastDate();
    const isByHand = date === lastDate && !isOwed;
    lastDate = date;
    isOwed &&= isStarting;
    keepTicks(job[CALLBACKS]);
    const fire = (): unknown => fireOnTick(...args);
    // The time at which the job became due, not the present time: the job may have run for a while.
    return isByHand || date === null
      ? ticks.exit(fire)
      : runInTick(
          method,
          () => fireAt(planOfCron(cronTime), date.getTime()),
          fire,
        );
  };
}

/** Called at each fire, since callbacks can be added to a job at any time. */
function keepTicks(callbacks: unknown): void {
  if (Array.isArray(callbacks)) {
    callbacks.forEach((call, index) => {
      if (isCallback(call) && !followed.has(call)) {
        const keeping = keepingTick(call);
        followed.add(keeping);
        callbacks[index] = keeping;
      }
    });
  }
}

function followTimer(
  timer: Timer,
  plan: Plan,
  method: ScheduledMethod | undefined,
): void {
  const call = timer[CALLBACK];
  if (!isCallback(call)) {
    if (method) {
      stateOf(method).unfollowed = { plan, setInterval };
    }
    return;
  }
  if (followed.has(timer)) {
    return;
  }
  followed.add(timer);
  timer[CALLBACK] = function (this: unknown, ...args: unknown[]) {
    const now = Date.now();
    const work = keepingTick(call).bind(this, ...args);
    return runInTick(method, () => fireAt(plan, now), work);
  };
}

/** Runs a call as a call of the scheduler for this fire. */
export function callForFire(
  method: ScheduledMethod,
  fire: Fire,
  call: () => unknown,
): unknown {
  return runInTick(method, () => fire, keepingTick(call));
}

/**
 * The fire for which the scheduler is calling this method; undefined for a call by hand, or from within
 * another method. It is set until the promise for which the scheduler waits has settled; after that only
 * for the first call of the method, since a decorator in between may not return the promise.
 */
export function currentFireOf(method: InstanceMethod): Fire | undefined {
  const tick = ticks.getStore();
  if (tick?.method !== undefined && isMethod(tick.method, method)) {
    const isInTime = tick.waiting > 0 || !tick.isReached;
    tick.isReached = true;
    return isInTime ? tick.fire() : undefined;
  }
  const unfollowed = findState(method)?.unfollowed;
  return unfollowed?.setInterval === setInterval
    ? fireAt(unfollowed.plan, Date.now())
    : undefined;
}

/**
 * Whether the scheduler has called this method, but no call has arrived in the async context of that
 * call: a call without the context may be the missing one.
 */
export function isCallMissing(method: InstanceMethod): boolean {
  const tick = findState(method)?.tick;
  return tick !== undefined && !tick.isReached;
}

/** The fire of the scheduler's call, of any method, that leads to the running code. */
export function currentFire(): Fire | undefined {
  const tick = ticks.getStore();
  return tick && tick.waiting > 0 ? tick.fire() : undefined;
}

/** The same, if a job or an interval that the application has added to the registry is calling. */
export function currentFireOfAdded(): Fire | undefined {
  return ticks.getStore()?.method === undefined ? currentFire() : undefined;
}

function runInTick<T>(
  method: ScheduledMethod | undefined,
  fire: Tick['fire'],
  call: () => T,
): T {
  const tick: Tick = { method, fire, waiting: 1, isReached: false };
  try {
    return ticks.run(tick, call);
  } finally {
    tick.waiting -= 1;
  }
}

/** Keeps a tick until its callback has ended. Noted here, since a job under `waitForCompletion` may fire without a call. */
function keepingTick<T>(call: (this: unknown, ...args: any[]) => T) {
  return function (this: unknown, ...args: unknown[]): T {
    const tick = ticks.getStore();
    if (tick === undefined) {
      return Reflect.apply(call, this, args);
    }
    if (tick.method) {
      stateOf(tick.method).tick = tick;
    }
    tick.waiting += 1;
    const settle = (): void => {
      tick.waiting -= 1;
    };
    let result: T;
    try {
      result = Reflect.apply(call, this, args);
    } catch (error) {
      settle();
      throw error;
    }
    if (isThenable(result)) {
      result.then(settle, settle);
    } else {
      settle();
    }
    return result;
  };
}

function isCallback(value: unknown): value is Callback {
  return typeof value === 'function';
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof Reflect.get(value, 'then') === 'function'
  );
}
