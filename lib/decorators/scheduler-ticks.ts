/** Tells the calls of the scheduler from calls by hand, and knows which fire each of them is for. */
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  fireAt,
  planOfCron,
  type CronTime,
  type Fire,
} from './planned-fires.js';

/** As much of the `CronJob` of the package `cron` as is used. */
export interface CronJob {
  readonly cronTime: CronTime;
  /** A new object each time that the job fires by itself. */
  lastDate(): Date | null;
  /** Is also called by each fire, for the next one, before that fire's own `fireOnTick`. */
  start(): void;
  fireOnTick(...args: unknown[]): unknown;
}

/** As much of the SchedulerRegistry of @nestjs/schedule as is used. */
export interface SchedulerRegistry {
  getCronJobs(): ReadonlyMap<string, CronJob>;
  addCronJob(name: string, job: CronJob): void;
}

/** One call of the scheduler: open while its method is being called, and over when that has returned. */
interface Tick {
  isOpen: boolean;
  readonly fire: () => Fire | undefined;
}

const ticks = new AsyncLocalStorage<Tick>();
const followed = new WeakSet<CronJob>();

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

/**
 * Follows all jobs of a registry, now and later, and calls back for each. That a call comes from a job
 * shows in nothing that the method gets to see, so `fireOnTick` is wrapped, as the registry does itself.
 */
export function followScheduler(
  registry: SchedulerRegistry,
  onJob: (name: string, job: CronJob) => void,
): void {
  const follow = (name: string, job: CronJob): void => {
    followJob(job);
    onJob(name, job);
  };
  const addCronJob = registry.addCronJob.bind(registry);
  registry.addCronJob = (name, job) => {
    addCronJob(name, job);
    follow(name, job);
  };
  for (const [name, job] of registry.getCronJobs()) {
    follow(name, job);
  }
}

function followJob(job: CronJob): void {
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
    const now = Date.now();
    const date = job.lastDate();
    const isByHand = date === lastDate && !isOwed;
    lastDate = date;
    isOwed &&= isStarting;
    const fire = (): unknown => fireOnTick(...args);
    return isByHand
      ? ticks.exit(fire)
      : runInTick(() => fireAt(planOfCron(job.cronTime), now), fire);
  };
}

/** Calls as the scheduler does, for this fire. */
export function callForFire<T>(fire: Fire, call: () => T): T {
  return runInTick(() => fire, call);
}

/** The fire for which the scheduler is calling at this very moment; undefined for a call by hand. */
export function currentFire(): Fire | undefined {
  const tick = ticks.getStore();
  return tick?.isOpen ? tick.fire() : undefined;
}

/**
 * For a call that goes on later: returns what goes on with it as a call of the scheduler, if it is
 * one now.
 */
export function keepTick(): <T>(call: () => T) => T {
  const tick = ticks.getStore();
  return tick?.isOpen ? (call) => runInTick(tick.fire, call) : (call) => call();
}

function runInTick<T>(fire: Tick['fire'], call: () => T): T {
  const tick: Tick = { isOpen: true, fire };
  try {
    return ticks.run(tick, call);
  } finally {
    // What the method does later is no call of the scheduler.
    tick.isOpen = false;
  }
}
