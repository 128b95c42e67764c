/** Without a LockService nothing runs: an application does not start, or a call is refused. */
import { Module, Scope, type ModuleMetadata, type Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';
import {
  K8sLockModule,
  LockConfigurationError,
  WithLeaseLock,
} from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { startLockApp } from './lock-app.js';

class Job {
  ran = false;

  @WithLeaseLock('job')
  async run() {
    this.ran = true;
  }
}

class DerivedJob extends Job {}

function makeJobsModule(metadata: ModuleMetadata): Type {
  @Module(metadata)
  class JobsModule {
    readonly metadata = metadata;
  }
  return JobsModule;
}

const TOKEN = Symbol('the provider under test');

/** The message of the LockConfigurationError that a call rejects with. */
async function refusalOf(job: Job): Promise<string> {
  const error: unknown = await job.run().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(LockConfigurationError);
  expect(job.ran).toBe(false);
  return String(error);
}

describe('an instance without a LockService', () => {
  it('made with new does not run, and says what to do', async () => {
    expect(await refusalOf(new DerivedJob())).toContain(
      'DerivedJob.run has no LockService, so it did not run: its instance was made with new, or as a copy, or by a useFactory with a scope, or K8sLockModule.forRoot() is not imported. List the class in the providers of a module, or make the instance with moduleRef.create()',
    );
  });

  it('made by a request-scoped useFactory does not run', async () => {
    await using fixture = await startLockApp({
      providers: [
        {
          provide: TOKEN,
          scope: Scope.REQUEST,
          useFactory: () => new Job(),
        },
      ],
    });
    expect(await refusalOf(await fixture.app.resolve<Job>(TOKEN))).toContain(
      'Job.run has no LockService',
    );
  });

  it('provided without K8sLockModule does not run', async () => {
    const moduleRef = await Test.createTestingModule({
      providers: [{ provide: TOKEN, useFactory: () => new Job() }],
    }).compile();
    await moduleRef.init();
    expect(await refusalOf(moduleRef.get(TOKEN))).toContain(
      'Job.run has no LockService',
    );
  });

  it('has not even the method\'s "this": it does not run', async () => {
    await using fixture = await startLockApp({ providers: [Job] });
    const run = Reflect.get(fixture.app.get(Job), 'run');
    await expect(Reflect.apply(run, undefined, [])).rejects.toThrow(
      'Job.run was called without its instance as "this", so it did not run',
    );
  });
});

describe('the application does not start', () => {
  it('without K8sLockModule, and the error says what to import', async () => {
    const start = Test.createTestingModule({ providers: [Job] }).compile();
    await expect(start).rejects.toThrow('dependencies of the Job');
    await expect(start).rejects.toThrow(
      'LockService for @WithLeaseLock: import K8sLockModule.forRoot()',
    );
  });

  it('when a useFactory provider sees no LockService', async () => {
    const JobsModule = makeJobsModule({
      providers: [{ provide: TOKEN, useFactory: () => new Job() }],
    });
    const start = startLockApp(
      { imports: [JobsModule] },
      { lock: { isGlobal: false } },
    );
    await expect(start).rejects.toThrow(LockConfigurationError);
    await expect(start).rejects.toThrow(
      'Job has methods under @WithLeaseLock(), but LockService is not available in JobsModule: import K8sLockModule there, or make it global',
    );
  });
});

describe('with a K8sLockModule for each module', () => {
  it('an instance has the LockService that its module sees', async () => {
    await using server = await LeaseApiServer.start();
    const kubeConfig = await server.kubeConfig();
    const jobsIn = (namespace: string) => {
      return makeJobsModule({
        imports: [
          K8sLockModule.forRoot({
            kubeConfig,
            namespace,
            isGlobal: false,
            verifyAtStartup: false,
          }),
        ],
        providers: [Job, { provide: TOKEN, useFactory: () => new Job() }],
      });
    };
    const North = jobsIn('north');
    const South = jobsIn('south');
    const moduleRef = await Test.createTestingModule({
      imports: [North, South],
    }).compile();
    await moduleRef.init();
    for (const [jobs, namespace] of [
      [North, 'north'],
      [South, 'south'],
    ] as const) {
      for (const token of [Job, TOKEN]) {
        server.requests.clear();
        await moduleRef.select(jobs).get<Job>(token, { strict: true }).run();
        expect(
          new Set(server.requests.all().map((request) => request.namespace)),
        ).toEqual(new Set([namespace]));
      }
    }
    await moduleRef.close();
  });
});
