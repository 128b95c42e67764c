/** Pods with an election: Nest applications that share locks in memory, on one clock that stands still. */
import type { LoggerService, ModuleMetadata } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { filter, firstValueFrom } from 'rxjs';
import { LockService, type LockLostError } from '../../lib/index.js';
import {
  getLeaderElectionToken,
  LeaderElection,
  LeaderElectionModule,
  OnDeposed,
  OnElected,
  type LeaderElectionOptions,
  type Leadership,
} from '../../lib/leader/index.js';
import {
  K8sLockTestingModule,
  LockTestingController,
  type K8sLockTestingOptions,
} from '../../lib/testing/index.js';

/** The election of these tests. */
export const NAME = 'dispatcher';

/** What happens in all pods, in its order. */
export type History = string[];

export class Dispatcher {
  /** What the pod does when it is elected. */
  work: (leadership: Leadership) => unknown = () => undefined;
  leadership: Leadership | undefined;

  constructor(
    private readonly pod: string,
    private readonly history: History,
  ) {}

  @OnElected(NAME)
  elected(leadership: Leadership): unknown {
    this.leadership = leadership;
    this.history.push(`${this.pod} elected`);
    leadership.signal.addEventListener('abort', () =>
      this.history.push(`${this.pod} aborted`),
    );
    return this.work(leadership);
  }

  @OnDeposed(NAME)
  async deposed({ reason }: LockLostError): Promise<void> {
    this.history.push(`${this.pod} deposed: ${reason}`);
  }
}

export interface Pod {
  readonly module: TestingModule;
  readonly locks: LockService;
  readonly election: LeaderElection;
  readonly dispatcher: Dispatcher;
}

class ErrorLog implements LoggerService {
  readonly errors: string[] = [];

  error(message: unknown): void {
    this.errors.push(String(message));
  }

  log(): void {}
  warn(): void {}
}

export class Pods implements AsyncDisposable {
  readonly controller = new LockTestingController();
  readonly history: History = [];
  readonly log = new ErrorLog();
  private readonly opened: TestingModule[] = [];

  constructor() {
    this.controller.stopTime();
  }

  async start(
    pod: string,
    {
      metadata = {},
      lock,
      options,
      work,
      beforeInit,
    }: {
      metadata?: ModuleMetadata;
      lock?: K8sLockTestingOptions;
      options?: LeaderElectionOptions;
      work?: Dispatcher['work'];
      beforeInit?: () => void;
    } = {},
  ): Promise<Pod> {
    const dispatcher = new Dispatcher(pod, this.history);
    dispatcher.work = work ?? dispatcher.work;
    const module = await Test.createTestingModule({
      ...metadata,
      imports: [
        K8sLockTestingModule.forRoot(
          { clientId: pod, shutdownTimeout: 5_000, ...lock },
          this.controller,
        ),
        LeaderElectionModule.forFeature(NAME, options),
        ...(metadata.imports ?? []),
      ],
      providers: [
        { provide: Dispatcher, useValue: dispatcher },
        ...(metadata.providers ?? []),
      ],
    })
      .setLogger(this.log)
      .compile();
    this.opened.push(module);
    beforeInit?.();
    await module.init();
    return {
      module,
      locks: module.get(LockService),
      election: module.get(getLeaderElectionToken(NAME)),
      dispatcher,
    };
  }

  /** Starts a pod, and waits until it leads. */
  async startLeader(
    pod: string,
    options?: Parameters<Pods['start']>[1],
  ): Promise<Pod> {
    const started = await this.start(pod, options);
    await leads(started);
    return started;
  }

  /** Starts a pod, and waits until it is in line behind the leader. */
  async startFollower(
    pod: string,
    options?: Parameters<Pods['start']>[1],
  ): Promise<Pod> {
    const started = await this.start(pod, options);
    await this.settle();
    return started;
  }

  /** Lets requests that are under way end. */
  async settle(): Promise<void> {
    await this.controller.advance(100);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.opened.map((module) => module.close()));
  }
}

/** Resolves when the pod leads. */
export async function leads({ election }: Pod): Promise<void> {
  await firstValueFrom(election.leader$.pipe(filter((isLeader) => isLeader)));
}

/** Resolves when the pod does not lead. */
export async function follows({ election }: Pod): Promise<void> {
  await firstValueFrom(election.leader$.pipe(filter((isLeader) => !isLeader)));
}
