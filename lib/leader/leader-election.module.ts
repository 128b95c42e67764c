/** LeaderElectionModule, which registers elections. */
import { Module, type DynamicModule } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { LockedMethodExplorer } from '../decorators/lock.explorer.js';
import { LockService } from '../lock.service.js';
import {
  checkElection,
  LeaderElection,
  type LeaderElectionOptions,
} from './leader-election.js';
import { LeaderMethodExplorer } from './leader-method.explorer.js';
import { getLeaderElectionToken } from './leader.decorators.js';

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
    const provide = getLeaderElectionToken(name);
    return {
      module: LeaderElectionModule,
      global: true,
      imports: [LeaderMethodsModule],
      providers: [
        {
          provide,
          useFactory: (locks: LockService) =>
            new LeaderElection(locks, name, options),
          inject: [LockService],
        },
      ],
      exports: [provide],
    };
  }
}
