/** Startup and shutdown: explores and checks at startup, subscribes the log, starts missed fires, and releases every lock at shutdown. */
import {
  Inject,
  Injectable,
  Logger,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { catchUp, type CatchUp } from './schedule/catch-up.js';
import {
  LockedMethodExplorer,
  type Explored,
} from './decorators/lock.explorer.js';
import type { CronTime } from './schedule/planned-fires.js';
import { describeShortPeriod } from './schedule/schedule-warnings.js';
import { ScheduledMethods } from './schedule/scheduled-methods.js';
import { followScheduler, isMethod } from './schedule/scheduler-ticks.js';
import { ModulesContainer } from '@nestjs/core';
import { describeRights } from './kube/access-review.js';
import { describeGlobalModules, RESOLVED_OPTIONS } from './global-modules.js';
import type { ResolvedModuleOptions } from './k8s-lock.options.js';
import { LockLog } from './lock-log.js';
import {
  explanationOf,
  LockConfigurationError,
  LockError,
} from './lock.errors.js';
import { clientOf, type FixedLock, type LockClient } from './lock.client.js';
import { LockService } from './lock.service.js';
import { ShutdownHook } from './shutdown.module.js';

const ROLE_RULE =
  '{ apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, create, update, patch] }';

@Injectable()
export class K8sLockLifecycle implements OnModuleInit, OnApplicationShutdown {
  private readonly logger = new Logger('K8sLockModule');
  /** Timers of the missed fires that start after the `initialDelay` of their job. */
  private readonly delays = new Set<NodeJS.Timeout>();
  private readonly closing = new AbortController();

  constructor(
    private readonly locks: LockService,
    private readonly explorer: LockedMethodExplorer,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedModuleOptions,
    @Inject(ShutdownHook) shutdown: ShutdownHook,
    private readonly modules: ModulesContainer,
  ) {
    shutdown.onShutdown(() => this.beginShutdown());
  }

  /** Runs before onApplicationBootstrap, in which schedulers start. */
  async onModuleInit(): Promise<void> {
    this.client?.start();
    const { lock: defaults } = this.options;
    const explored = await this.explorer.explore(this.locks, defaults);
    const found = explored.locks;
    const { client } = this;
    if (client === undefined) {
      return;
    }
    this.locks.events$.subscribe(new LockLog(this.logger));
    this.warnOfGlobalModules();
    await this.verify(client, [...found, ...client.fixedLocks]);
    this.followSchedulers(client, explored);
    for (const { name, label, isObserved, options } of found) {
      client.fixedNames.add(name);
      client.methods.push({ label, name, options });
      if (isObserved) {
        // If observing fails, the first call fails for the same reason and reports it.
        client.observe(name, options).catch(() => undefined);
      }
    }
  }

  /** Runs after HTTP, schedulers and queue workers have stopped. */
  async onApplicationShutdown(): Promise<void> {
    await this.client?.shutdown();
  }

  /** Undefined if a test replaces LockService. */
  private get client(): LockClient | undefined {
    return clientOf(this.locks);
  }

  private warnOfGlobalModules(): void {
    const warning = describeGlobalModules(this.modules, this.options);
    if (warning !== undefined) {
      this.logger.warn(warning);
    }
  }

  private beginShutdown(): void {
    this.closing.abort();
    this.delays.forEach(clearTimeout);
    this.client?.beginShutdown();
  }

  private followSchedulers(
    client: LockClient,
    { locks, scheduled }: Explored,
  ): void {
    const registries = this.explorer.findSchedulers();
    if (scheduled.length > 0 && registries.length === 0) {
      this.logger.warn(
        `ScheduleModule.forRoot() of @nestjs/schedule is not imported, so nothing calls ${[...new Set(scheduled.map(({ label }) => label))].join(', ')}: import it`,
      );
    }
    const missed = new Set(locks.flatMap((lock) => lock.catchUp ?? []));
    const methods =
      registries.length > 0 ? this.explorer.findScheduledMethods() : [];
    for (const registry of registries) {
      const known = new ScheduledMethods(
        methods,
        this.explorer.findOrchestrator(registry),
      );
      followScheduler(registry, known, ({ method, plan, cronTime }) => {
        const all = scheduled.filter((lock) => isMethod(lock, method));
        for (const warning of all.flatMap(
          (lock) => describeShortPeriod(lock, plan) ?? [],
        )) {
          this.logger.warn(warning);
        }
        const { schedule } = method;
        if (!(schedule.type === 'cron' && schedule.options.disabled)) {
          for (const { label, name, options } of all) {
            const nextFire = (now: number): number => plan.next(now);
            client.methods.push({ label, name, options, nextFire });
          }
        }
        for (const each of missed) {
          if (cronTime && isMethod(each.method, method)) {
            missed.delete(each);
            this.catchUp(client, each, cronTime);
          }
        }
      });
    }
  }

  /** Runs a missed fire now, or after the initial delay of its job. */
  private catchUp(
    client: LockClient,
    missed: CatchUp,
    cronTime: CronTime,
  ): void {
    const { schedule } = missed.method;
    const { disabled = false, initialDelay = 0 } =
      schedule.type === 'cron' ? schedule.options : {};
    if (disabled) {
      return;
    }
    const delay = setTimeout(() => {
      this.delays.delete(delay);
      const { signal } = this.closing;
      catchUp(client, missed, cronTime, signal).catch((error: unknown) => {
        if (!signal.aborted || error !== signal.reason) {
          // The scheduler logs the errors of its jobs in the same way.
          this.logger.error(error);
        }
      });
    }, initialDelay);
    this.delays.add(delay);
  }

  private async verify(
    client: LockClient,
    known: readonly FixedLock[],
  ): Promise<void> {
    const warn = (warning: string): void => {
      if (!this.closing.signal.aborted) {
        this.logger.warn(warning);
      }
    };
    switch (this.options.verifyAtStartup) {
      case 'require':
        return requireRights(client, known, warn).catch((error: unknown) => {
          // Logged here because Nest may print only the message, which lacks the details.
          if (
            error instanceof LockError &&
            error.explanation !== error.message
          ) {
            this.logger.error(error.explanation);
          }
          throw error;
        });
      case 'warn':
        // Not awaited: an API server that does not answer must not delay the start.
        requireRights(client, known, warn).catch((error: unknown) =>
          warn(explanationOf(error)),
        );
    }
  }
}

/** @param warn is told if nothing is missing but the right to wait in line, without which locks work too */
async function requireRights(
  client: LockClient,
  known: readonly FixedLock[],
  warn: (warning: string) => void,
): Promise<void> {
  const missing = await client.findMissingRights(known);
  const faults = await client.findNamespaceFaults(known);
  if (missing.some(({ verb }) => verb !== 'patch')) {
    faults.push(
      `the Kubernetes API server does not grant the rights that locks need: this process ${describeRights(missing)}. Add to its Role: ${ROLE_RULE} (delete too for deleteOnRelease and renewal: 'session')`,
    );
  } else if (missing.length > 0) {
    warn(
      `this process ${describeRights(missing)}, so it can't wait in line: its waits for locks take longer, and some pods get a lock more often than others. Add to its Role: ${ROLE_RULE}`,
    );
  }
  if (faults.length > 0) {
    throw new LockConfigurationError(faults);
  }
}
