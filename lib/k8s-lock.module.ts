/** K8sLockModule, the dynamic module that applications import. */
import {
  Inject,
  Module,
  type DynamicModule,
  type NestModule,
} from '@nestjs/common';
import {
  DiscoveryModule,
  HttpAdapterHost,
  ModulesContainer,
} from '@nestjs/core';
import {
  callFactoryOf,
  findSourceFaults,
  type AsyncRegistration,
} from './async-options.js';
import { followExchanges } from './http/http-exchange.js';
import { LockedMethodExplorer } from './decorators/lock.explorer.js';
import { isLoadedLazily, RESOLVED_OPTIONS } from './global-modules.js';
import { K8sLockLifecycle } from './k8s-lock.lifecycle.js';
import {
  ConfigurableModuleClass,
  IS_CONFIGURED,
  MODULE_OPTIONS_TOKEN,
  type ASYNC_OPTIONS_TYPE,
  type OPTIONS_TYPE,
} from './k8s-lock.module-definition.js';
import {
  findObjectFaults,
  resolveModuleOptions,
  throwFaults,
  type K8sLockModuleOptions,
  type ResolvedModuleOptions,
} from './k8s-lock.options.js';
import { clientOf, LOCK_BACKEND, type LockBackend } from './lock.client.js';
import { LockConfigurationError } from './lock.errors.js';
import { LockService } from './lock.service.js';
import { ShutdownModule } from './shutdown.module.js';

/**
 * Distributed locks on the Leases of the Kubernetes API: provides `LockService` and makes `@WithLeaseLock`
 * work. Global unless `isGlobal: false`. Wrong options, here or on a decorator, keep the application from
 * starting; one `LockConfigurationError` names all of them.
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
  imports: [DiscoveryModule, ShutdownModule],
  providers: [
    LockedMethodExplorer,
    K8sLockLifecycle,
    {
      provide: RESOLVED_OPTIONS,
      useFactory: resolveGivenOptions,
      inject: [
        { token: IS_CONFIGURED, optional: true },
        { token: MODULE_OPTIONS_TOKEN, optional: true },
      ],
    },
    {
      provide: LockService,
      useFactory: makeService,
      inject: [
        RESOLVED_OPTIONS,
        ModulesContainer,
        { token: LOCK_BACKEND, optional: true },
      ],
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
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedModuleOptions,
  ) {
    super();
  }

  /** Called by Nest before it registers routes, if there is an HTTP server. */
  configure(): void {
    if (this.options.http) {
      followExchanges(this.adapterHost.httpAdapter);
    }
  }

  static override forRoot(options: typeof OPTIONS_TYPE = {}): DynamicModule {
    throwFaults(findObjectFaults('the argument of forRoot()', options));
    return super.forRoot(options);
  }

  static override forRootAsync(
    options: typeof ASYNC_OPTIONS_TYPE,
  ): DynamicModule {
    throwFaults(findSourceFaults(FOR_ROOT, options));
    const { providers = [], ...definition } = super.forRootAsync(options);
    return {
      ...definition,
      providers: options.useFactory
        ? providers
        : providers.map((provider) =>
            'useFactory' in provider &&
            provider.provide === MODULE_OPTIONS_TOKEN
              ? { ...provider, useFactory: callFactoryOf(FOR_ROOT) }
              : provider,
          ),
    };
  }
}

const FOR_ROOT: AsyncRegistration = {
  method: 'forRootAsync()',
  factoryMethod: 'createK8sLockOptions',
};

function resolveGivenOptions(
  isConfigured: true | undefined,
  options: K8sLockModuleOptions,
): ResolvedModuleOptions {
  if (!isConfigured) {
    throw new LockConfigurationError([
      'K8sLockModule is imported without options: import K8sLockModule.forRoot() or K8sLockModule.forRootAsync(). If one of these is global already, remove this import',
    ]);
  }
  throwFaults(
    findObjectFaults('the result of the factory of forRootAsync()', options),
  );
  return resolveModuleOptions(options);
}

function makeService(
  options: ResolvedModuleOptions,
  modules: ModulesContainer,
  backend: LockBackend | undefined,
): LockService {
  if (!backend && [...modules.values()].some(hasBackend)) {
    throw new LockConfigurationError([
      'K8sLockModule and K8sLockTestingModule.forRoot() are both imported, so the locks of one would not be in memory: beside a module that imports K8sLockModule, import K8sLockTestingModule.forApplication()',
    ]);
  }
  const service = new LockService(options, backend);
  if (isLoadedLazily(modules, options)) {
    clientOf(service)!.waitForStart(
      'K8sLockModule was loaded by LazyModuleLoader. Nest does not call the lifecycle hooks of such a module, so locks would not be released at shutdown: import K8sLockModule.forRoot() in the root module. The modules that are loaded lazily can then use LockService and the decorators without importing it again',
    );
  }
  return service;
}

function hasBackend({
  providers,
}: {
  providers: Map<unknown, unknown>;
}): boolean {
  return providers.has(LOCK_BACKEND);
}
