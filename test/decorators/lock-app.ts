/** A Nest application on an embedded API server, and a second process's worth of LockService beside it. */
import { clientOf } from '../../lib/lock.client.js';
import type {
  INestApplication,
  LoggerService,
  ModuleMetadata,
} from '@nestjs/common';
import type { AbstractHttpAdapter } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import {
  K8sLockModule,
  LockService,
  type K8sLockModuleExtras,
  type K8sLockModuleOptions,
} from '../../lib/index.js';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { LeaseApiServer } from '../../lib/testing/index.js';

export interface LockApp extends AsyncDisposable {
  readonly app: INestApplication;
  readonly server: LeaseApiServer;
  /** The LockService of the application. */
  readonly locks: LockService;
  /** Another client of the same API server, as in another process. */
  readonly others: LockService;
  /** Answers of the application over HTTP. */
  request(path: string, init?: RequestInit): Promise<Response>;
}

export interface LockAppOptions {
  /** Default: a new one, stopped with the application. */
  server?: LeaseApiServer;
  lock?: K8sLockModuleOptions & K8sLockModuleExtras;
  logger?: LoggerService;
  /** Default: Express. */
  adapter?: AbstractHttpAdapter;
  /** Is called before the application starts. */
  configure?: (app: INestApplication) => void;
}

/** Starts an application with K8sLockModule and what `metadata` adds to it. */
export async function startLockApp(
  metadata: ModuleMetadata,
  { server, lock, logger, adapter, configure }: LockAppOptions = {},
): Promise<LockApp> {
  const api = server ?? (await LeaseApiServer.start());
  const kubeConfig = await api.kubeConfig();
  const others = new LockService(
    resolveModuleOptions({ kubeConfig, shutdownTimeout: 0 }),
  );
  const stopAll = async (): Promise<void> => {
    await clientOf(others)!.shutdown();
    if (server === undefined) {
      await api.stop();
    }
  };
  const moduleRef = await Test.createTestingModule({
    ...metadata,
    imports: [
      K8sLockModule.forRoot({
        kubeConfig,
        verifyAtStartup: false,
        shutdownTimeout: 0,
        ...lock,
      }),
      ...(metadata.imports ?? []),
    ],
  }).compile();
  const settings = { logger: logger ?? false } as const;
  const app = adapter
    ? moduleRef.createNestApplication(adapter, settings)
    : moduleRef.createNestApplication(settings);
  configure?.(app);
  try {
    await app.listen(0, '127.0.0.1');
  } catch (error) {
    await stopAll();
    throw error;
  }
  const url = await app.getUrl();
  return {
    app,
    server: api,
    locks: app.get(LockService),
    others,
    request: (path, init) => fetch(new URL(path, url), init),
    [Symbol.asyncDispose]: async () => {
      await app.close();
      await stopAll();
    },
  };
}

/** Applies decorators as the compiler does when they stand in this order, the first on top. */
export function decorateMethod(
  prototype: object,
  key: string,
  decorators: readonly MethodDecorator[],
): void {
  const descriptor = Object.getOwnPropertyDescriptor(prototype, key)!;
  Object.defineProperty(
    prototype,
    key,
    Reflect.decorate([...decorators], prototype, key, descriptor),
  );
}

/** Every order of these. */
export function permute<T>(items: readonly T[]): T[][] {
  return items.length <= 1
    ? [[...items]]
    : items.flatMap((item, index) =>
        permute(items.toSpliced(index, 1)).map((rest) => [item, ...rest]),
      );
}

/** `Promise.withResolvers()`, which Node.js 20 has not. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
}

export function defer<T = void>(): Deferred<T> {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** A holder that shows quickly that it is alive, so that a skip need not look for long. */
export const LIVELY = { leaseDuration: 2_000, renewInterval: 50 };

/** Keeps the warnings of K8sLockModule; what it waits for must come. */
export class WarningLog implements LoggerService {
  readonly warnings: string[] = [];
  private readonly waiting = new Set<() => void>();

  warn(message: string, context: string): void {
    if (context === 'K8sLockModule') {
      this.warnings.push(message);
      for (const check of this.waiting) {
        check();
      }
    }
  }

  /** The first warning that contains this text. */
  async next(text: string): Promise<string> {
    return new Promise((resolve) => {
      const check = (): void => {
        const found = this.warnings.find((warning) => warning.includes(text));
        if (found !== undefined) {
          this.waiting.delete(check);
          resolve(found);
        }
      };
      this.waiting.add(check);
      check();
    });
  }

  log(): void {}
  error(): void {}
}
