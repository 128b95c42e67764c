/** LeaderElectionModule, which registers elections. */
import {
  Module,
  type ConfigurableModuleAsyncOptions,
  type DynamicModule,
  type Provider,
} from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import {
  callFactoryOf,
  findSourceFaults,
  type AsyncRegistration,
} from '../async-options.js';
import { LockedMethodExplorer } from '../decorators/lock.explorer.js';
import { throwFaults } from '../k8s-lock.options.js';
import { LockService } from '../lock.service.js';
import {
  checkElection,
  checkElectionName,
  LeaderElection,
  type LeaderElectionOptions,
} from './leader-election.js';
import { LeaderMethodExplorer } from './leader-method.explorer.js';
import { getLeaderElectionToken } from './leader.decorators.js';

/** The interface of a class for `forFeatureAsync(name, { useClass })` or `(name, { useExisting })`. */
export interface LeaderElectionOptionsFactory {
  createLeaderElectionOptions():
    LeaderElectionOptions | Promise<LeaderElectionOptions>;
}

/** The second argument of `forFeatureAsync`. */
export type LeaderElectionAsyncOptions = Omit<
  ConfigurableModuleAsyncOptions<
    LeaderElectionOptions,
    'createLeaderElectionOptions'
  >,
  'provideInjectionTokensFrom'
>;

const FOR_FEATURE: AsyncRegistration = {
  method: 'forFeatureAsync()',
  factoryMethod: 'createLeaderElectionOptions',
};

/** Imported once, however many elections there are. */
@Module({
  imports: [DiscoveryModule],
  providers: [LockedMethodExplorer, LeaderMethodExplorer],
})
// oxlint-disable-next-line typescript/no-extraneous-class -- what a module has is in its decorator
class LeaderMethodsModule {}

/**
 * Leader election on the locks of a global `K8sLockModule`. Each call of `forFeature` registers one election, which
 * every module of the application can inject.
 *
 * @example
 * imports: [K8sLockModule.forRoot(), LeaderElectionModule.forFeature('dispatcher')]
 */
@Module({})
export class LeaderElectionModule {
  /**
   * Registers an election, in which this process contends from `onApplicationBootstrap` on.
   *
   * @param name any non-empty string: the name of the election, and of its lock
   * @throws LockConfigurationError for a wrong name or wrong options
   */
  static forFeature(
    name: string,
    options: LeaderElectionOptions = {},
  ): DynamicModule {
    checkElection(name, options);
    return register(name, {
      providers: [{ provide: optionsTokenOf(name), useValue: options }],
    });
  }

  /**
   * As {@link forFeature}, with options that come from other providers.
   *
   * @throws LockConfigurationError for a wrong name or source; wrong options keep the application from starting
   * @example
   * LeaderElectionModule.forFeatureAsync('dispatcher', {
   *   inject: [ConfigService],
   *   useFactory: (config: ConfigService) => ({ leaseDuration: config.get('LEASE') }),
   * });
   */
  static forFeatureAsync(
    name: string,
    options: LeaderElectionAsyncOptions,
  ): DynamicModule {
    checkElectionName(name);
    throwFaults(findSourceFaults(FOR_FEATURE, options));
    const { imports, inject = [], useFactory, useClass, useExisting } = options;
    const provide = optionsTokenOf(name);
    const factory = useClass ?? useExisting;
    return register(name, {
      imports,
      providers: [
        ...(useClass ? [useClass] : []),
        useFactory
          ? { provide, useFactory, inject }
          : {
              provide,
              useFactory: callFactoryOf(FOR_FEATURE),
              inject: [factory!],
            },
      ],
    });
  }
}

function optionsTokenOf(name: string): string {
  return `LeaderElectionOptions(${name})`;
}

/** The module of one election, with providers for its options. */
function register(
  name: string,
  {
    imports = [],
    providers,
  }: { imports?: DynamicModule['imports']; providers: Provider[] },
): DynamicModule {
  const provide = getLeaderElectionToken(name);
  return {
    module: LeaderElectionModule,
    global: true,
    imports: [LeaderMethodsModule, ...imports],
    providers: [
      ...providers,
      {
        provide,
        useFactory: (locks: LockService, options: LeaderElectionOptions) =>
          new LeaderElection(locks, name, checkElection(name, options)),
        inject: [LockService, optionsTokenOf(name)],
      },
    ],
    exports: [provide],
  };
}
