/** Where a combination is run once: an application with the lock above, below or left out, and what became of its Leases. */
import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import type { INestApplication, ModuleMetadata, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  currentLock,
  K8sLockModule,
  LockService,
  WithLeaseLock,
} from 'nestjs-k8s-lock';
import type { LeaseApiServer } from 'nestjs-k8s-lock/testing';

/** Where `@WithLeaseLock` stands among the other decorators of the method. */
export type Placement = 'above' | 'below' | 'left out';

/** What can be seen of a method from outside. It must be the same wherever the lock stands. */
export interface Outcome {
  /** How calls of it ended; left out where nobody is told. */
  readonly status?: unknown;
  /** What they came to; left out where that reaches nobody. */
  readonly body?: unknown;
  /** The class and the key of the method, whose metadata is compared. */
  readonly method: readonly [type: Type, key: string];
  /** What Nest knows the method for. */
  readonly registration: unknown;
}

/** Decorators beside others on a method, and what is done with it. */
export type Combination = (run: CombinationRun) => Promise<Outcome>;

export type Combinations = Readonly<Record<string, Combination>>;

/** What runs share. */
export interface Services {
  readonly server: LeaseApiServer;
  /** The path of Redis's socket, for those that need it. */
  readonly redis?: string;
}

/** A method that runs. */
export interface Entry {
  /** The name and the fencing token of `currentLock()`. */
  readonly current: string | undefined;
  readonly token: bigint | undefined;
  /** The Leases that name a holder. */
  readonly held: readonly string[];
  /** What else it noted. */
  readonly saw: unknown;
}

/** What was done with the locks of a run. */
export interface LockUse {
  /** The locks that each call of the method is to hold. */
  readonly names: readonly string[];
  /** How many of them claim the fire of the call: a write more says that the work begins. */
  readonly claims: number;
  readonly entries: readonly Entry[];
  /** How many requests wrote a Lease. */
  readonly writes: number;
}

type LockDecorator = ReturnType<
  typeof WithLeaseLock<unknown, unknown[], 'wait'>
>;

/** So long that nothing is renewed while a test runs. */
const LEASE_DURATION = 600_000;

export class CombinationRun implements AsyncDisposable {
  private readonly namespace = `run-${randomUUID()}`;
  private readonly names: string[] = [];
  private claims = 0;
  private readonly entries: Entry[] = [];
  private readonly changes = new EventEmitter();
  private readonly closers: (() => unknown)[] = [];

  constructor(
    private readonly placement: Placement,
    private readonly services: Services,
  ) {}

  /** The path of Redis's socket. */
  get redis(): string {
    return this.services.redis!;
  }

  /** Decorators of the method under test: one above what it is combined with and one below; one at most is a lock. */
  lock(
    name = 'work',
    { isClaiming = false } = {},
  ): { above: LockDecorator; below: LockDecorator } {
    if (this.placement !== 'left out') {
      this.names.push(name);
      this.claims += isClaiming ? 1 : 0;
    }
    const at = (place: Placement): LockDecorator =>
      place === this.placement ? WithLeaseLock(name) : () => {};
    return { above: at('above'), below: at('below') };
  }

  /** Starts an application that listens, and is closed with the run. */
  async start(metadata: ModuleMetadata): Promise<INestApplication> {
    const lockModule = K8sLockModule.forRoot({
      kubeConfig: await this.services.server.kubeConfig(),
      namespace: this.namespace,
      leaseDuration: LEASE_DURATION,
      verifyAtStartup: false,
    });
    const app = await NestFactory.create(
      {
        module: class App {
          readonly name = 'app';
        },
        ...metadata,
        imports: [lockModule, ...(metadata.imports ?? [])],
      },
      { logger: false, abortOnError: false },
    );
    this.onClose(() => app.close());
    app.get(LockService).requests$.subscribe(() => this.changes.emit('change'));
    await app.listen(0, '127.0.0.1');
    return app;
  }

  /** What the method under test does first: notes that it runs, under which lock, and what it saw. */
  enter(saw?: unknown): void {
    const lock = currentLock();
    this.entries.push({
      current: lock?.name,
      token: lock?.fencingToken,
      held: this.findHeld(),
      saw,
    });
    this.changes.emit('change');
  }

  /** Resolves with what the first call of the method saw, once it runs. */
  async entered(): Promise<unknown> {
    await this.until(() => this.entries.length > 0);
    return this.entries[0]!.saw;
  }

  /** `close` is called when the run is closed; the latest first. */
  onClose(close: () => unknown): void {
    this.closers.unshift(close);
  }

  /** Resolves once no Lease names a holder any more. */
  async lockUse(): Promise<LockUse> {
    await this.until(() => this.findHeld().length === 0);
    return {
      names: this.names.toSorted(),
      claims: this.claims,
      entries: this.entries,
      writes: this.services.server.requests.count({
        namespace: this.namespace,
        verb: ['create', 'update', 'patch', 'delete'],
      }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.closers) {
      await close();
    }
  }

  private findHeld(): string[] {
    return this.services.server
      .leases(this.namespace)
      .filter(({ spec }) => spec?.holderIdentity)
      .map(({ metadata }) => metadata.name)
      .toSorted();
  }

  private async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      await once(this.changes, 'change');
    }
  }
}
