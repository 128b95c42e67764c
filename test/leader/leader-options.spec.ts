/** The options of elections that come from other providers, and what is checked of elections when the application starts. */
import { Injectable, Module } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LockConfigurationError, type LockState } from '../../lib/index.js';
import {
  getLeaderElectionToken,
  LeaderElection,
  LeaderElectionModule,
  type LeaderElectionAsyncOptions,
  type LeaderElectionOptions,
  type LeaderElectionOptionsFactory,
} from '../../lib/leader/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { startLockApp, WarningLog } from '../decorators/lock-app.js';
import { Pods } from './pods.js';

let pods: Pods;
beforeEach(() => {
  pods = new Pods();
});
afterEach(() => pods[Symbol.asyncDispose]());

@Injectable()
class Config {
  readonly lease = 4_000;
}

@Module({ providers: [Config], exports: [Config] })
class ConfigModule {}

@Injectable()
class Options implements LeaderElectionOptionsFactory {
  constructor(private readonly config: Config) {}

  async createLeaderElectionOptions(): Promise<LeaderElectionOptions> {
    return { leaseDuration: this.config.lease };
  }
}

@Module({
  imports: [ConfigModule],
  providers: [Options],
  exports: [Options],
})
class OptionsModule {}

/** Starts an application with the election `async`, and waits until it leads. @returns the state of its lock */
async function lead(options: LeaderElectionAsyncOptions): Promise<LockState> {
  const { module, locks } = await pods.start('one', {
    metadata: {
      imports: [LeaderElectionModule.forFeatureAsync('async', options)],
    },
  });
  const election: LeaderElection = module.get(getLeaderElectionToken('async'));
  return election.whenLeader(() => locks.inspect('async'));
}

describe('forFeatureAsync()', () => {
  it.each<[string, LeaderElectionAsyncOptions]>([
    [
      'useFactory',
      {
        imports: [ConfigModule],
        inject: [Config],
        useFactory: async ({ lease }: Config) => ({ leaseDuration: lease }),
      },
    ],
    ['useClass', { imports: [ConfigModule], useClass: Options }],
    ['useExisting', { imports: [OptionsModule], useExisting: Options }],
  ])('takes its options from %s', async (_, options) => {
    expect(await lead(options)).toMatchObject({
      state: 'held',
      leaseDuration: 4_000,
    });
  });

  it('may stand beside others, whose options are their own', async () => {
    const { module, locks } = await pods.start('one', {
      metadata: {
        imports: [5_000, 6_000].map((leaseDuration) =>
          LeaderElectionModule.forFeatureAsync(`of ${leaseDuration}`, {
            useFactory: () => ({ leaseDuration }),
          }),
        ),
      },
    });
    for (const leaseDuration of [5_000, 6_000]) {
      const name = `of ${leaseDuration}`;
      const election: LeaderElection = module.get(getLeaderElectionToken(name));
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const state = await election.whenLeader(() => locks.inspect(name));
      expect(state).toMatchObject({ leaseDuration });
    }
  });

  it.each<[unknown[], string]>([
    [[''], 'the name of an election must be a non-empty string'],
    [['async'], 'the argument of forFeatureAsync() must be an object'],
    [
      ['async', {}],
      'forFeatureAsync() must be given one of useFactory, useClass, useExisting, not none of them',
    ],
    [
      ['async', { useFactory: Options }],
      'useFactory must be a function that returns the options, not a class: pass it as useClass',
    ],
    [
      ['async', { useClass: 5 }],
      'useClass must be a class with createLeaderElectionOptions(), not 5',
    ],
  ])('refuses the arguments %j', (args, fault) => {
    const register = (): unknown =>
      Reflect.apply(
        Reflect.get(LeaderElectionModule, 'forFeatureAsync'),
        LeaderElectionModule,
        args,
      );
    expect(register).toThrow(LockConfigurationError);
    expect(register).toThrow(fault);
  });

  it.each<[LeaderElectionAsyncOptions, string]>([
    [
      { useFactory: () => ({ leaseDuration: 10 }) },
      'the election "async": leaseDuration must be whole seconds',
    ],
    [
      { useFactory: () => ({ leaseDuration: 2_000, renewInterval: 9_000 }) },
      'the election "async": renewInterval must be at most',
    ],
    [
      { useFactory: () => JSON.parse('5') },
      'the election "async": the options must be an object',
    ],
    [
      // @ts-expect-error It has no such method.
      { useClass: Config },
      'the class of useClass or useExisting in forFeatureAsync() must have the method createLeaderElectionOptions()',
    ],
  ])(
    'with wrong options keeps the application from starting',
    async (options, fault) => {
      await expect(lead(options)).rejects.toThrow(fault);
    },
  );
});

describe('the check at startup', () => {
  const election = LeaderElectionModule.forFeature('dispatcher', {
    namespace: 'leaders',
  });
  const REQUIRED = { verifyAtStartup: 'require' } as const;

  it.each(['require', 'warn'] as const)(
    "under '%s' names the rights that an election lacks in its namespace",
    async (verifyAtStartup) => {
      await using server = await LeaseApiServer.start({
        allow: ({ verb, namespace }) =>
          namespace !== 'leaders' || verb !== 'watch',
      });
      const logger = new WarningLog();
      const fault =
        'may not watch leases.coordination.k8s.io in namespace "leaders"';
      const starting = startLockApp(
        { imports: [election] },
        { server, logger, lock: { verifyAtStartup } },
      );
      if (verifyAtStartup === 'require') {
        // oxlint-disable-next-line vitest/no-conditional-expect -- of this mode
        await expect(starting).rejects.toThrow(fault);
      } else {
        await using _ = await starting;
        await logger.next(fault);
      }
    },
  );

  it('is content with rights on the Lease of the election', async () => {
    await using server = await LeaseApiServer.start({
      allow: ({ verb, group, name }) =>
        group !== 'coordination.k8s.io' ||
        verb === 'create' ||
        name === 'dispatcher',
    });
    await using fixture = await startLockApp(
      { imports: [LeaderElectionModule.forFeature('dispatcher')] },
      { server, lock: REQUIRED },
    );
    const found: LeaderElection = fixture.app.get(
      getLeaderElectionToken('dispatcher'),
    );
    expect(await found.whenLeader(() => 'led')).toBe('led');
  });

  it('finds that the namespace of an election does not exist', async () => {
    await using server = await LeaseApiServer.start({
      namespaces: new Map([['default', 'Active']]),
    });
    await expect(
      startLockApp({ imports: [election] }, { server, lock: REQUIRED }),
    ).rejects.toThrow('namespace leaders does not exist');
  });
});
