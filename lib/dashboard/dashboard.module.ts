/** K8sLockDashboardModule, which adds a live view of the locks to the routes of the application. */
import {
  Inject,
  Module,
  type DynamicModule,
  type FactoryProvider,
} from '@nestjs/common';
import { LockConfigurationError } from '../lock.errors.js';
import { clientOf } from '../lock.client.js';
import { LockService } from '../lock.service.js';
import { ShutdownHook, ShutdownModule } from '../shutdown.module.js';
import { makeController, VIEW } from './dashboard.controller.js';
import {
  resolveView,
  splitAsyncOptions,
  splitOptions,
  type DashboardViewOptions,
  type K8sLockDashboardAsyncOptions,
  type K8sLockDashboardOptions,
  type ResolvedRoutes,
  type ResolvedView,
} from './dashboard.options.js';
import { LockFeed } from './lock-feed.js';

/**
 * A live view of all locks under the prefix of a global `K8sLockModule`, as a page of the application: holders, waiters,
 * fires, sessions, and who held which lock when. Needs `guards`, unless `public: true`, and the rights to list and watch Leases.
 *
 * @example
 * K8sLockDashboardModule.forRoot({ path: '/locks', guards: [AdminGuard] });
 */
@Module({})
export class K8sLockDashboardModule {
  constructor(
    @Inject(LockFeed) feed: LockFeed,
    @Inject(ShutdownHook) shutdown: ShutdownHook,
  ) {
    shutdown.onShutdown(() => feed.close());
  }

  /** @throws LockConfigurationError for wrong options, and without guards unless `public: true` */
  static forRoot(options: K8sLockDashboardOptions): DynamicModule {
    const { routes, view } = splitOptions(options);
    return define(routes, { provide: VIEW, useFactory: () => view });
  }

  /**
   * As {@link forRoot}, with the options of the view from a factory.
   *
   * @throws LockConfigurationError for wrong options, and without guards unless `public: true`
   */
  static forRootAsync(options: K8sLockDashboardAsyncOptions): DynamicModule {
    const { routes, useFactory, inject } = splitAsyncOptions(options);
    return define(routes, {
      provide: VIEW,
      inject,
      useFactory: async (...args: unknown[]): Promise<ResolvedView> => {
        const made: DashboardViewOptions = await useFactory(...args);
        return resolveView(made);
      },
    });
  }
}

function define(routes: ResolvedRoutes, view: FactoryProvider): DynamicModule {
  return {
    module: K8sLockDashboardModule,
    imports: [ShutdownModule, ...routes.imports],
    controllers: [makeController(routes)],
    providers: [
      view,
      { provide: LockFeed, useFactory: makeFeed, inject: [LockService, VIEW] },
    ],
  };
}

function makeFeed(locks: LockService, view: ResolvedView): LockFeed {
  const client = clientOf(locks);
  if (client === undefined) {
    throw new LockConfigurationError([
      'K8sLockDashboardModule needs the LockService of K8sLockModule, not one that replaces it',
    ]);
  }
  return new LockFeed(locks, client, view);
}
