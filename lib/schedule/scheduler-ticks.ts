/** Tells the calls of the scheduler from calls by hand, and knows which fire each of them is for. */
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  fireAt,
  planOfCron,
  planOfInterval,
  type CronTime,
  type Fire,
  type Plan,
} from './planned-fires.js';
import {
  isMethod,
  type InstanceMethod,
  type ScheduledMethod,
  type ScheduledMethods,
} from './scheduled-methods.js';

/** Where a `CronJob` has what it calls. */
const CALLBACKS = '_callbacks';
/** Where a timer of Node.js has what it calls, and the milliseconds between two calls. */
const CALLBACK = '_onTimeout';
const PERIOD = '_repeat';

/** As much of the `CronJob` of the package `cron` as is used. */
export interface CronJob {
  readonly cronTime: CronTime;
  readonly [CALLBACKS]?: unknown;
  /** A new object each time that the job fires by itself. */
  lastDate(): Date | null;
  /** Is also called by each fire, for the next one, before that fire's own `fireOnTick`. */
  start(): void;
  fireOnTick(...args: unknown[]): unknown;
}

/** As much of a timer of Node.js as is used. A faked one may have none of it, and that of a browser is a number. */
interface Timer {
  [CALLBACK]?: unknown;
  readonly [PERIOD]?: unknown;
}

/** As much of the SchedulerRegistry of @nestjs/schedule as is used. */
export interface SchedulerRegistry {
  getCronJobs(): ReadonlyMap<string, CronJob>;
  addCronJob(name: string, job: CronJob): void;
  getIntervals(): readonly string[];
  getInterval(name: string): Timer;
  addInterval(name: string, timer: Timer): void;
}

/** One call of the scheduler, in the async context of all that it leads to. */
interface Tick {
  /** The method that the scheduler calls; undefined for what the application has added to its registry. */
  readonly method: ScheduledMethod | undefined;
  readonly fire: () => Fire | undefined;
  /** How many of the promises for which the scheduler waits are not settled. */
  waiting: number;
  /** Whether the lock of the method was reached. */
  isReached: boolean;
}

type Callback = (this: unknown, ...args: unknown[]) => unknown;

const ticks = new AsyncLocalStorage<Tick>();
const followed = new WeakSet<object>();

/** What is known of a scheduled method beside the async context. */
interface MethodState {
  /** The latest call of the scheduler. */
  tick?: Tick;
  /** Of an interval whose timer can't be followed: a call by hand can't be told from one of the timer. */
  unfollowed?: {
    readonly plan: Plan;
    /** What made the timer. Where that was a fake one, its timers go with it. */
    readonly setInterval: unknown;
  };
}

/** By the instance, and the key. */
const states = new WeakMap<object, Map<string | symbol, MethodState>>();

function stateOf({ instance, key }: InstanceMethod): MethodState {
  const all = states.get(instance) ?? new Map<string | symbol, MethodState>();
  states.set(instance, all);
  const state = all.get(key) ?? {};
  all.set(key, state);
  return state;
}

const REGISTRY_METHODS = [
  'getCronJobs',
  'addCronJob',
  'addInterval',
  'addTimeout',
];

/** Whether this is the class of the registry, by which it is found before any provider is looked at. */
export function isSchedulerRegistryClass(value: unknown): boolean {
  try {
    return typeof value === 'function' && isSchedulerRegistry(value.prototype);
  } catch {
    return false; // a Proxy that may not be looked at
  }
}

/** Whether this is the registry: known by what it can do, since its class may come from any copy of its package. */
export function isSchedulerRegistry(
  value: unknown,
): value is SchedulerRegistry {
  try {
    return (
      typeof value === 'object' &&
      value !== null &&
      REGISTRY_METHODS.every(
        (name) => typeof Reflect.get(value, name) === 'function',
      )
    );
  } catch {
    return false; // a Proxy that may not be looked at
  }
}

/** What a method is called by. */
export interface FollowedJob {
  readonly method: ScheduledMethod;
  readonly plan: Plan;
  /** Undefined for an interval. */
  readonly cronTime?: CronTime;
}

/**
 * Follows all jobs and intervals of a registry, now and later, and calls back for each that is a
 * method's. That a call comes from one of them shows in nothing that the method gets to see, so what
 * they call is wrapped, as the registry does itself.
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
  // A fire that finds the next one due as well calls for that one first, and for both with one date.
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
    // The moment at which the job found itself due: what it did since took its time.
    return isByHand || date === null
      ? ticks.exit(fire)
      : runInTick(
          method,
          () => fireAt(planOfCron(cronTime), date.getTime()),
          fire,
        );
  };
}

/** Done at each fire, since a job may get more of them. */
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

/** Calls as the scheduler calls the method, for this fire. */
export function callForFire(
  method: ScheduledMethod,
  fire: Fire,
  call: () => unknown,
): unknown {
  return runInTick(method, () => fire, keepingTick(call));
}

/**
 * The fire for which the scheduler is calling this method; undefined for a call by hand, and for one
 * from within the call of another method. It lasts until the promise has settled for which the
 * scheduler waits, and beyond that for the first call of the method: a decorator in between may let
 * go of the promise.
 */
export function currentFireOf(method: InstanceMethod): Fire | undefined {
  const tick = ticks.getStore();
  if (tick?.method !== undefined && isMethod(tick.method, method)) {
    const isInTime = tick.waiting > 0 || !tick.isReached;
    tick.isReached = true;
    return isInTime ? tick.fire() : undefined;
  }
  const { unfollowed } = stateOf(method);
  return unfollowed?.setInterval === setInterval
    ? fireAt(unfollowed.plan, Date.now())
    : undefined;
}

/**
 * Whether the scheduler has called this method, and no call of it came that shows in its async context:
 * the one that comes without may be that call.
 */
export function isCallMissing(method: InstanceMethod): boolean {
  const { tick } = stateOf(method);
  return tick !== undefined && !tick.isReached;
}

/** The fire for which the scheduler is calling, whatever it calls. */
export function currentFire(): Fire | undefined {
  const tick = ticks.getStore();
  return tick && tick.waiting > 0 ? tick.fire() : undefined;
}

/** The same, where the call is one of a job or an interval that the application has added to the registry. */
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

/** A tick lasts as long as what the scheduler calls in it: a job that waits for its last call to end calls nothing. */
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
