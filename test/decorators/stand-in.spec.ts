/** A stub or an automatic mock in the place of LockService: methods run by its withLock(), and never fail to run unnoticed. */
import {
  Controller,
  Get,
  Injectable,
  Module,
  UseInterceptors,
  type INestApplication,
} from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import { from, lastValueFrom, toArray, type Observable } from 'rxjs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { LockHealthIndicator } from '../../lib/health/index.js';
import {
  HeldLock,
  K8sLockModule,
  LeaseLock,
  LeaseLockInterceptor,
  LockConfigurationError,
  LockNotAcquiredError,
  LockService,
  WithLeaseLock,
} from '../../lib/index.js';
import { K8sLockTelemetryModule } from '../../lib/telemetry/index.js';

type Work = () => unknown;

const runs = vi.fn<() => void>();
afterEach(() => runs.mockReset());

const TAKEN = new LockNotAcquiredError(
  { name: 'job', namespace: 'default', leaseName: 'job' },
  'held',
);

@Injectable()
class Jobs {
  @WithLeaseLock((id: string) => `job-${id}`)
  async run(id: string): Promise<string> {
    runs();
    return `ran ${id}`;
  }

  @WithLeaseLock('job', { namespace: 'jobs', leaseDuration: 1_000 })
  async withOptions(): Promise<string> {
    runs();
    return 'ran';
  }

  @WithLeaseLock('job', { onLocked: 'skip' })
  async maySkip(failure?: Error): Promise<string | undefined> {
    runs();
    if (failure) {
      throw failure;
    }
    return 'ran';
  }

  @WithLeaseLock('above')
  @WithLeaseLock('below')
  async two(@HeldLock() lock?: LeaseLock): Promise<LeaseLock | undefined> {
    runs();
    return lock;
  }

  @WithLeaseLock('feed')
  feed(): Observable<number> {
    return from([1, 2]);
  }
}

@Controller()
class JobsController {
  @Get('locked')
  @WithLeaseLock('route', { onLocked: 'skip' })
  async locked(): Promise<string | undefined> {
    runs();
    return 'ran';
  }

  @Get('intercepted')
  @UseInterceptors(LeaseLockInterceptor('route', { onLocked: 'skip' }))
  intercepted(): string {
    runs();
    return 'ran';
  }
}

async function jobsWith(stub: unknown): Promise<Jobs> {
  const module = await Test.createTestingModule({
    providers: [Jobs, { provide: LockService, useValue: stub }],
  }).compile();
  return module.get(Jobs);
}

const STUB = { withLock: (_name: string, work: () => unknown) => work() };

/** A stub's acquire(), and the lock that it returns. */
function acquiring(lock: unknown = { release: vi.fn<() => void>() }) {
  const acquire = vi.fn<(name: string, options: object) => Promise<unknown>>();
  return { lock, acquire: acquire.mockResolvedValue(lock) };
}

describe('a stub that has only an acquire()', () => {
  it('runs the method with that, and releases in any case', async () => {
    const release = vi.fn<() => void>();
    const { lock, acquire } = acquiring({ release });
    const jobs = await jobsWith({ acquire });
    expect(await jobs.two()).toBe(lock);
    expect(acquire.mock.calls).toEqual([
      ['above', {}],
      ['below', {}],
    ]);
    expect(release).toHaveBeenCalledTimes(2);
    await expect(jobs.maySkip(new Error('own'))).rejects.toThrow('own');
    expect(release).toHaveBeenCalledTimes(3);
  });

  it('says that the lock is taken by its rejection', async () => {
    const { acquire } = acquiring();
    acquire.mockRejectedValue(TAKEN);
    const jobs = await jobsWith({ acquire });
    expect(await jobs.maySkip()).toBeUndefined();
    await expect(jobs.run('7')).rejects.toBe(TAKEN);
    expect(runs).not.toHaveBeenCalled();
  });

  it.each([[undefined], [null], [true], [{}]])(
    'is refused if it returns %s, which is no lock',
    async (lock) => {
      const { acquire } = acquiring();
      acquire.mockResolvedValue(lock);
      const jobs = await jobsWith({ acquire });
      await expect(jobs.run('7')).rejects.toThrow(
        'Jobs.run did not run: the acquire() of the object provided as LockService returned no lock',
      );
      expect(runs).not.toHaveBeenCalled();
    },
  );

  it('is not asked if the stub has a withLock(), too', async () => {
    const { acquire } = acquiring();
    const jobs = await jobsWith({ ...STUB, acquire });
    expect(await jobs.run('7')).toBe('ran 7');
    expect(acquire).not.toHaveBeenCalled();
  });
});

describe('a stub', () => {
  it('runs the method, and what that resolves with comes through', async () => {
    const jobs = await jobsWith(STUB);
    expect(await jobs.run('7')).toBe('ran 7');
    const feed = await Promise.resolve(jobs.feed());
    expect(await lastValueFrom(feed.pipe(toArray()))).toEqual([1, 2]);
  });

  it('gets what its parameters say: the name, the options, the work', async () => {
    const options = { namespace: 'jobs', leaseDuration: 1_000 };
    const two = vi.fn<(name: string, work: Work) => unknown>((_name, work) =>
      work(),
    );
    await (await jobsWith({ withLock: two })).withOptions();
    expect(two).toHaveBeenCalledWith('job', expect.any(Function));
    const three = vi.fn<(name: string, options: object, work: Work) => unknown>(
      (_name, _options, work) => work(),
    );
    const jobs = await jobsWith({ withLock: three });
    await jobs.withOptions();
    await jobs.run('7');
    expect(three.mock.calls).toEqual([
      ['job', options, expect.any(Function)],
      ['job-7', {}, expect.any(Function)],
    ]);
    const any = vi.fn<(name: string, ...rest: [object, Work]) => unknown>(
      (_name, ...rest) => rest[1](),
    );
    await (await jobsWith({ withLock: any })).withOptions();
    expect(any).toHaveBeenCalledWith('job', options, expect.any(Function));
  });

  it('is asked for each lock of a method, and gives what @HeldLock() shows', async () => {
    const names: string[] = [];
    const jobs = await jobsWith({
      withLock: (name: string, work: (lock: object) => unknown) => {
        names.push(name);
        return work({ name });
      },
    });
    expect(await jobs.two()).toEqual({ name: 'below' });
    expect(names).toEqual(['above', 'below']);
  });

  it('says that the lock is taken by rejecting, as the real one', async () => {
    const jobs = await jobsWith({ withLock: () => Promise.reject(TAKEN) });
    expect(await jobs.maySkip()).toBeUndefined();
    await expect(jobs.run('7')).rejects.toBe(TAKEN);
    expect(runs).not.toHaveBeenCalled();
  });

  it('leaves the errors of the method alone', async () => {
    const jobs = await jobsWith(STUB);
    await expect(jobs.maySkip(TAKEN)).rejects.toBe(TAKEN);
  });
});

describe('a stand-in that does not run the method', () => {
  it.each([
    ['a mock without an implementation', { withLock: vi.fn<() => void>() }],
    ['a stub that resolves at once', { withLock: async () => undefined }],
    ['an object with nothing', {}],
    [
      'a mock of the class',
      Object.assign(Object.create(LockService.prototype), {
        enter: vi.fn<() => void>(),
        withLock: vi.fn<() => void>(),
      }),
    ],
  ])('is an error: %s', async (_, stub) => {
    const jobs = await jobsWith(stub);
    const failure = await jobs.maySkip().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(LockConfigurationError);
    expect(String(failure)).toContain('Jobs.maySkip did not run: ');
    expect(String(failure)).toContain(
      'In a test, provide { withLock: (name, work) => work() }',
    );
    expect(runs).not.toHaveBeenCalled();
  });

  it('is an error of an automatic mock', async () => {
    const module = await Test.createTestingModule({ providers: [Jobs] })
      .useMocker(
        () =>
          new Proxy(
            {},
            { get: (_, key) => key !== 'then' && vi.fn<() => void>() },
          ),
      )
      .compile();
    await expect(module.get(Jobs).maySkip()).rejects.toThrow('did not run');
  });
});

describe('an application with a stub', () => {
  @Module({
    imports: [
      ScheduleModule.forRoot(),
      K8sLockModule.forRoot({ verifyAtStartup: 'require' }),
      K8sLockTelemetryModule.forRoot(),
    ],
    controllers: [JobsController],
    providers: [
      Jobs,
      LockHealthIndicator,
      { provide: 'made', useFactory: () => new Jobs() },
    ],
  })
  class AppModule {}

  async function start(stub: object): Promise<INestApplication> {
    const module = await Test.createTestingModule({ imports: [AppModule] })
      .overrideProvider(LockService)
      .useValue(stub)
      .compile();
    const app = module.createNestApplication({ logger: false });
    await app.listen(0, '127.0.0.1');
    return app;
  }

  it('starts, runs and closes, with no API server', async () => {
    const app = await start(STUB);
    expect(await app.get(Jobs).run('7')).toBe('ran 7');
    expect(await app.get<Jobs>('made').run('8')).toBe('ran 8');
    for (const path of ['locked', 'intercepted']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const answer = await fetch(`${await app.getUrl()}/${path}`);
      // oxlint-disable-next-line no-await-in-loop -- as above
      expect([answer.status, await answer.text()]).toEqual([200, 'ran']);
    }
    expect(await app.get(LockHealthIndicator).isHealthy('locks')).toEqual({
      locks: { status: 'up', apiServer: 'up' },
    });
    expect(app.get(LockHealthIndicator).isAlive('locks')).toEqual({
      locks: { status: 'up' },
    });
    await app.close();
  });

  it.each(['locked', 'intercepted'])(
    'answers 204 where the stub says that the lock is taken, and 500 where it does not call: %s',
    async (path) => {
      const withLock = vi.fn<() => Promise<unknown>>().mockRejectedValue(TAKEN);
      const app = await start({ withLock });
      const url = `${await app.getUrl()}/${path}`;
      expect((await fetch(url)).status).toBe(204);
      withLock.mockResolvedValue(undefined);
      expect((await fetch(url)).status).toBe(500);
      expect(runs).not.toHaveBeenCalled();
      await app.close();
    },
  );
});
