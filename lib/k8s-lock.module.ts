/** The module: what users import, and what it is made of. */
import {
  Inject,
  Module,
  type DynamicModule,
  type NestModule,
} from '@nestjs/common';
import { APP_GUARD, DiscoveryModule, HttpAdapterHost } from '@nestjs/core';
import { followExchanges } from './decorators/http-exchange.js';
import { LockedMethodExplorer } from './decorators/locked-method.explorer.js';
import { RouteGuard } from './decorators/route.guard.js';
import { K8sLockLifecycle, RESOLVED_OPTIONS } from './k8s-lock.lifecycle.js';
import {
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
  type OPTIONS_TYPE,
} from './k8s-lock.module-definition.js';
import {
  resolveModuleOptions,
  type ResolvedModuleOptions,
} from './k8s-lock.options.js';
import { LockService } from './lock.service.js';

/**
 * Distributed locks on the Leases of the Kubernetes API: offers `LockService` and makes
 * `@WithLeaseLock` work. Global unless `isGlobal: false`. Options that are wrong, here or on a
 * decorator, keep the application from starting, all in one `LockConfigurationError`.
 *
 * @example
 * K8sLockModule.forRoot({ namespace: 'jobs', leaseDuration: 30_000 });
 *
 * @example
 * K8sLockModule.forRootAsync({
 *   inject: [ConfigService],
 *   useFactory: (config: ConfigService) => ({ namespace: config.get('LOCK_NAMESPACE') }),
 * });
 */
@Module({
  imports: [DiscoveryModule],
  providers: [
    LockedMethodExplorer,
    K8sLockLifecycle,
    { provide: APP_GUARD, useClass: RouteGuard },
    {
      provide: RESOLVED_OPTIONS,
      useFactory: resolveModuleOptions,
      inject: [MODULE_OPTIONS_TOKEN],
    },
    {
      provide: LockService,
      useFactory: (options: ResolvedModuleOptions) => new LockService(options),
      inject: [RESOLVED_OPTIONS],
    },
  ],
  exports: [LockService],
})
export class K8sLockModule
  extends ConfigurableModuleClass
  implements NestModule
{
  constructor(
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
  ) {
    super();
  }

  /** Nest calls it when there is an HTTP server, before it registers routes. */
  configure(): void {
    followExchanges(this.adapterHost.httpAdapter);
  }

  static override forRoot(options: typeof OPTIONS_TYPE = {}): DynamicModule {
    return super.forRoot(options);
  }
}
