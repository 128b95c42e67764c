/** Replicas of an application with scheduled methods, whose scheduler fires when a test says so. */
import type { Type } from '@nestjs/common';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { filter, firstValueFrom, ReplaySubject, type Observable } from 'rxjs';
import { LockService, type LockEvent } from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { startLockApp, type LockApp } from './lock-app.js';

/** Planned once a year: every tick of a test is for the same fire, the one of this New Year's Day. */
export const YEARLY = '0 0 0 1 1 *';
export const UTC = { timeZone: 'UTC' };
export const NEW_YEAR = new Date(Date.UTC(new Date().getUTCFullYear(), 0, 1));

/** The end of a call. */
export type CallEnd = Extract<
  LockEvent,
  { type: 'executed' | 'failed' | 'skipped' | 'not-acquired' }
>;

const isEnd = (event: LockEvent): event is CallEnd =>
  ['executed', 'failed', 'skipped', 'not-acquired'].includes(event.type);

export class CronPod implements AsyncDisposable {
  private constructor(
    private readonly fixture: LockApp,
    /** The ends of its calls, from its very start. */
    readonly ends: readonly CallEnd[],
    private readonly allEnds: Observable<CallEnd>,
    private readonly reads: Observable<unknown>,
  ) {}

  /** Starts one; its providers are the scheduled classes. */
  static async start(
    server: LeaseApiServer,
    ...providers: Type[]
  ): Promise<CronPod> {
    const ends: CallEnd[] = [];
    const allEnds = new ReplaySubject<CallEnd>();
    const reads = new ReplaySubject<unknown>();
    const fixture = await startLockApp(
      { imports: [ScheduleModule.forRoot()], providers },
      {
        server,
        lock: { leaseDuration: 1_000, shutdownTimeout: 0 },
        configure: (app) => {
          const { events$, requests$ } = app.get(LockService);
          allEnds.subscribe((end) => ends.push(end));
          events$.pipe(filter(isEnd)).subscribe(allEnds);
          requests$.pipe(filter(({ verb }) => verb === 'get')).subscribe(reads);
        },
      },
    );
    return new CronPod(fixture, ends, allEnds, reads);
  }

  get<T>(type: Type<T>): T {
    return this.fixture.app.get(type);
  }

  get locks() {
    return this.fixture.locks;
  }

  get others() {
    return this.fixture.others;
  }

  get registry(): SchedulerRegistry {
    return this.fixture.app.get(SchedulerRegistry);
  }

  /** A job that is called by hand: `SchedulerRegistry` gives it to anybody. */
  job(name: string) {
    return this.registry.getCronJob(name);
  }

  /**
   * Fires a job as its timer does, when the clock of the pod says `at`; resolves with the end of the first
   * call under a lock.
   */
  async tick(name: string, at = new Date()): Promise<CallEnd> {
    const end = this.next();
    const job = this.job(name);
    job.lastExecution = at;
    void job.fireOnTick();
    return end;
  }

  /** Calls what the timer of an interval calls, as Node.js does. */
  async tickInterval(name: string): Promise<void> {
    const timer: Record<'_onTimeout', () => unknown> =
      this.registry.getInterval(name);
    await timer['_onTimeout']();
  }

  /** The end of the next call. */
  next(): Promise<CallEnd> {
    return firstValueFrom(this.fixture.locks.events$.pipe(filter(isEnd)));
  }

  /** The end of its first call since it was started. */
  firstEnd(): Promise<CallEnd> {
    return firstValueFrom(this.allEnds);
  }

  /**
   * Resolves when its first read of a record was answered, and what follows from the answer has begun.
   * A pod that no method was called in reads for nothing but `catchUp`.
   */
  async firstRead(): Promise<void> {
    await firstValueFrom(this.reads);
    await nextTurn();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fixture[Symbol.asyncDispose]();
  }
}

/** What the record of a lock says about the last fire: its planned time and what became of it. */
export function claimOf(
  server: LeaseApiServer,
  name: string,
): string | undefined {
  const { metadata } = server.lease({ namespace: 'default', name }) ?? {};
  return metadata?.annotations?.['nestjs-k8s-lock/fire']?.replace(/ by .*/, '');
}
