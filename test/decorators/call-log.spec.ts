/** What the log tells of calls under locks: why one did not run, where, and how often. */
import {
  Controller,
  Get,
  Injectable,
  UseInterceptors,
  type ModuleMetadata,
} from '@nestjs/common';
import { inspect } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  LeaseLockInterceptor,
  LockBackendError,
  LockConfigurationError,
  LockError,
  LockService,
  WithLeaseLock,
} from '../../lib/index.js';
import { RepeatedLines } from '../../lib/repeated-lines.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { CapturedLog } from '../security/captured-log.js';
import { startLockApp, type LockApp } from './lock-app.js';

@Injectable()
class Jobs {
  @WithLeaseLock('import', { onLocked: 'throw' })
  async import(): Promise<string> {
    return 'ran';
  }

  @WithLeaseLock('mail', { onLocked: 'skip' })
  async mail(): Promise<string | undefined> {
    return 'ran';
  }

  @WithLeaseLock('broken')
  async breaks(): Promise<void> {
    throw new Error('the work is wrong');
  }

  @WithLeaseLock((name: string) => name)
  async named(name: string): Promise<string> {
    return name;
  }

  @WithLeaseLock('outer')
  async nested(): Promise<void> {
    await this.named('');
  }
}

@Controller()
class Routes {
  constructor(private readonly jobs: Jobs) {}

  @Get('import')
  async import(): Promise<string> {
    return this.jobs.import();
  }

  @Get('intercepted')
  @UseInterceptors(LeaseLockInterceptor(() => ''))
  intercepted(): string {
    return 'ran';
  }
}

/** Keeps each line with its level. */
class LevelLog extends CapturedLog {
  readonly lines: [level: string, text: string][] = [];

  private keep(level: string, logged: unknown[]): void {
    const [message] = logged;
    if (logged.at(-1) === 'K8sLockModule') {
      this.lines.push([
        level,
        typeof message === 'string' ? message : inspect(message),
      ]);
    }
  }

  override error(...logged: unknown[]): void {
    this.keep('error', logged);
  }

  override warn(...logged: unknown[]): void {
    this.keep('warn', logged);
  }

  override debug(...logged: unknown[]): void {
    this.keep('debug', logged);
  }

  at(level: string): string[] {
    return this.lines.filter(([at]) => at === level).map(([, text]) => text);
  }
}

async function start(server?: LeaseApiServer) {
  const logger = new LevelLog();
  const fixture = await startLockApp(
    { controllers: [Routes], providers: [Jobs] },
    { logger, server },
  );
  return { logger, fixture, jobs: fixture.app.get(Jobs) };
}

afterEach(() => {
  vi.useRealTimers();
});

it('a line that would be repeated is written at once, and then once a minute with how often', () => {
  vi.useFakeTimers();
  const lines = new RepeatedLines();
  const written: string[] = [];
  const note = (id: string): void =>
    lines.note(id, (count) => written.push(id + count));
  note('a');
  note('a');
  note('b');
  note('a');
  expect(written.splice(0)).toEqual(['a', 'b']);
  vi.advanceTimersByTime(60_000);
  expect(written.splice(0)).toEqual(['a (2 more times)']);
  note('b'); // has not come for a minute
  expect(written.splice(0)).toEqual(['b']);
  vi.advanceTimersByTime(60_000);
  expect(vi.getTimerCount()).toBe(0);
  expect(written).toEqual([]);
});

const forbidden = (): Promise<LeaseApiServer> =>
  LeaseApiServer.start({
    allow: ({ resource }) => resource !== 'leases',
  });

describe('a route whose lock fails', () => {
  it('for a missing right logs one line with the advice, which the answer does not have', async () => {
    await using server = await forbidden();
    const { logger, fixture } = await start(server);
    await using _ = fixture;
    const bodies = [];
    for (let i = 0; i < 3; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one request after the other
      bodies.push(await (await fixture.request('import')).text());
    }
    expect(bodies.join()).not.toMatch(/Grant|127\.0\.0\.1|leases/);
    expect(logger.at('warn')).toEqual([]);
    expect(logger.at('error')).toEqual([
      expect.stringMatching(
        /^Jobs\.import did not run: Lock "import" .*Grant these credentials the verb "\w+" on leases/,
      ),
    ]);
  });

  it('for a fault of the configuration leaves one line, of an interceptor too', async () => {
    const { logger, fixture } = await start();
    await using _ = fixture;
    for (const path of ['intercepted', 'intercepted']) {
      // oxlint-disable-next-line no-await-in-loop -- one request after the other
      expect((await fixture.request(path)).status).toBe(500);
    }
    expect(logger.at('error')).toEqual([
      'LeaseLockInterceptor() on Routes.intercepted did not run: the lock name must not be empty',
    ]);
  });
});

it('a process that can renew no more locks warns once, with advice', async () => {
  const { logger, fixture } = await start();
  await using _ = fixture;
  const { locks, server } = fixture;
  server.faults.inject(
    { kind: 'delay', before: 500 },
    { verb: 'create', times: 1 },
  );
  const lock = await locks.acquire('a', { renewInterval: 10 });
  for (const name of ['b', 'c']) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await expect(
      locks.tryAcquire(name, { renewInterval: 10 }),
    ).rejects.toMatchObject({ reason: 'saturated' });
  }
  await lock.release();
  expect(logger.at('warn')).toEqual([
    expect.stringMatching(
      /^Lock "b" .* waits: this process holds as many locks as it can renew \(its 1 locks need 100\.0 renewals a second; .*\)\. Hold fewer locks/,
    ),
  ]);
  expect(logger.at('debug')).toContainEqual(
    expect.stringMatching(
      /^This process can renew more locks again, after \d+ ms$/,
    ),
  );
});

it('a configuration fault is logged once, where it is, and not again by its callers', async () => {
  const { logger, fixture, jobs } = await start();
  await using _ = fixture;
  await expect(jobs.nested()).rejects.toThrow(LockConfigurationError);
  await expect(jobs.named('')).rejects.toThrow(LockConfigurationError);
  expect(logger.at('error')).toEqual([
    'Jobs.named did not run: the lock name must not be empty',
  ]);
});

/** What an application logs as errors while it is used. */
async function errorsOf(
  metadata: ModuleMetadata,
  act: (fixture: LockApp) => Promise<unknown>,
): Promise<string[]> {
  const logger = new LevelLog();
  await using fixture = await startLockApp(metadata, { logger });
  await act(fixture).catch(() => undefined);
  return logger.at('error');
}

describe('a line names the method once, and says truly whether it ran', () => {
  class Misuse {
    constructor(private readonly locks: LockService) {}

    @WithLeaseLock('misuse')
    async run(): Promise<void> {
      await Reflect.apply(Reflect.get(this.locks, 'withLock'), this.locks, [
        'inner',
        5,
      ]);
    }
  }

  it.each<[string, () => Promise<string[]>, RegExp]>([
    [
      'made with new',
      () => errorsOf({}, () => new Jobs().import()),
      /^Jobs\.import has no LockService, so it did not run: /,
    ],
    [
      'called without its instance',
      () =>
        errorsOf({ providers: [Jobs] }, async ({ app }) => {
          const run = Reflect.get(app.get(Jobs), 'import');
          return Reflect.apply(run, undefined, []);
        }),
      /^Jobs\.import was called without its instance as "this", so it did not run/,
    ],
    [
      'under a stub that is none',
      () =>
        errorsOf(
          { providers: [Jobs, { provide: LockService, useValue: {} }] },
          ({ app }) => app.get(Jobs).import(),
        ),
      /^Jobs\.import did not run: the object provided as LockService has neither withLock\(\) nor acquire\(\)\./,
    ],
    [
      'failing by itself',
      () =>
        errorsOf(
          {
            providers: [
              {
                provide: Misuse,
                useFactory: (locks: LockService) => new Misuse(locks),
                inject: [LockService],
              },
            ],
          },
          ({ app }) => app.get(Misuse).run(),
        ),
      /^Misuse\.run has failed: lock "[^"]+": the last argument of withLock\(\) must be/,
    ],
  ])('%s', async (_, act, line) => {
    const errors = await act();
    expect(errors).toEqual([expect.stringMatching(line)]);
    expect(errors.join().match(/did not run/g)?.length ?? 0).toBeLessThan(2);
    expect(errors.join()).not.toContain('nestjs-k8s-lock:');
  });
});

it('a repeated failure is logged once, and with its count at the end', async () => {
  await using server = await forbidden();
  const { logger, fixture, jobs } = await start(server);
  await using _ = fixture;
  const fail = (): Promise<unknown> =>
    expect(jobs.import()).rejects.toThrow(LockBackendError);
  await fail();
  await fail();
  await fail();
  expect(logger.at('error')).toHaveLength(1);
  await fixture.app.close();
  expect(logger.at('error').slice(1)).toEqual([
    expect.stringMatching(/^Jobs\.import did not run: .* \(2 more times\)$/),
  ]);
});

describe('at debug', () => {
  it('names the caller, the lock and the outcome', async () => {
    const { logger, fixture, jobs } = await start();
    await using _ = fixture;
    await jobs.import();
    await expect(jobs.breaks()).rejects.toThrow('the work is wrong');
    expect(logger.at('debug')).toEqual([
      expect.stringMatching(
        /^Lock "import" was acquired by Jobs\.import \(holder \S+\), after \d+ ms$/,
      ),
      expect.stringMatching(
        /^Jobs\.import succeeded under lock "import", after \d+ ms$/,
      ),
      expect.stringMatching(/^Lock "broken" was acquired by Jobs\.breaks/),
      expect.stringMatching(
        /^Jobs\.breaks failed under lock "broken", after \d+ ms: Error: the work is wrong$/,
      ),
    ]);
    expect(logger.at('error')).toEqual([]);
  });

  it('says why a call did not run, and who holds the lock', async () => {
    const { logger, fixture, jobs } = await start();
    await using _ = fixture;
    const FOREVER = { leaseDuration: 'infinite' } as const;
    const mail = await fixture.others.acquire('mail', FOREVER);
    const held = await fixture.others.acquire('import', FOREVER);
    expect(await jobs.mail()).toBeUndefined();
    await expect(jobs.import()).rejects.toThrow(LockError);
    expect(logger.at('debug')).toEqual([
      expect.stringContaining(
        `Jobs.mail was skipped: lock "mail" is held (holder ${mail.holderIdentity})`,
      ),
      expect.stringContaining(
        `Lock "import" was not acquired by Jobs.import: held (holder ${held.holderIdentity})`,
      ),
    ]);
  });
});
