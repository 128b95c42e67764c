/** Finds the method of a job of the scheduler by the order of registration, since a job does not name its method. */
import type { CronTime } from './planned-fires.js';
import type { Schedule } from './schedule.metadata.js';

export interface MethodPlace {
  /** The prototype of the instance's class, even if the method is inherited. */
  readonly prototype: object;
  readonly key: string | symbol;
}

/** A method of one instance. */
export interface InstanceMethod extends MethodPlace {
  readonly instance: object;
}

/** A method that the scheduler calls repeatedly. */
export interface ScheduledMethod extends InstanceMethod {
  readonly schedule: Exclude<Schedule, { type: 'once' }>;
}

/** The name that @nestjs/schedule gives to a job without one. */
const MADE_UP = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/;

/** The properties of the SchedulerOrchestrator whose keys are the names of the jobs of methods. */
const JOBS = { cron: 'cronJobs', interval: 'intervals' } as const;

/** Finds the methods of the jobs of one scheduler. */
export class ScheduledMethods {
  /** The methods without a name, by the type of their job and the name that the scheduler gave to it. */
  private readonly unnamed = new Map<string, ScheduledMethod>();

  /**
   * @param methods in the order in which the scheduler registers them
   * @param orchestrator the SchedulerOrchestrator of @nestjs/schedule, which registers them
   */
  constructor(
    private readonly methods: readonly ScheduledMethod[],
    private readonly orchestrator: object | undefined,
  ) {}

  /** Undefined for a job that the application has added to the registry. */
  ofCronJob(name: string, time: CronTime): ScheduledMethod | undefined {
    return this.find('cron', name, ({ schedule }) => {
      if (schedule.type !== 'cron') {
        return false;
      }
      const { cronTime, timeZone, utcOffset } = schedule.options;
      return (
        typeof time.source !== 'string' ||
        (time.source === cronTime &&
          (timeZone ?? time.timeZone) === time.timeZone &&
          (utcOffset ?? time.utcOffset) === time.utcOffset)
      );
    });
  }

  /** Undefined for an interval that the application has added to the registry. */
  ofInterval(name: string): ScheduledMethod | undefined {
    return this.find('interval', name, () => true);
  }

  private find(
    type: 'cron' | 'interval',
    name: string,
    fits: (method: ScheduledMethod) => boolean,
  ): ScheduledMethod | undefined {
    const isOfType = ({ schedule }: ScheduledMethod): boolean =>
      schedule.type === type;
    // A job that was deleted and added again with other times keeps its name.
    const named =
      this.methods.findLast(
        (method) => isOfType(method) && nameOf(method) === name,
      ) ?? this.unnamed.get(`${type} ${name}`);
    if (named !== undefined || !this.isMadeUp(type, name)) {
      return named;
    }
    const taken = new Set(this.unnamed.values());
    const next = this.methods.find(
      (method) =>
        isOfType(method) &&
        !nameOf(method) &&
        !taken.has(method) &&
        fits(method),
    );
    if (next !== undefined) {
      this.unnamed.set(`${type} ${name}`, next);
    }
    return next;
  }

  /** Whether the scheduler has made up this name. The application may name its jobs by UUIDs as well. */
  private isMadeUp(type: 'cron' | 'interval', name: string): boolean {
    const jobs: unknown =
      this.orchestrator && Reflect.get(this.orchestrator, JOBS[type]);
    return typeof jobs === 'object' && jobs !== null
      ? Object.hasOwn(jobs, name)
      : MADE_UP.test(name); // a version of @nestjs/schedule without this property
  }
}

function nameOf({ schedule }: ScheduledMethod): string | undefined {
  return schedule.type === 'cron' ? schedule.options.name : schedule.name;
}
