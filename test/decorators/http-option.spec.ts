/** The option `http` switches off what requests and answers get; switched on, it adds nothing global, and patches nothing. */
import type { ServerResponse } from 'node:http';
import {
  Controller,
  Get,
  UseInterceptors,
  type INestApplication,
} from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { describe, expect, it } from 'vitest';
import { LeaseLockInterceptor, WithLeaseLock } from '../../lib/index.js';
import { ask, askAndLeave, nextEvent, PLATFORMS } from './http-clients.js';
import { LIVELY, startLockApp, type LockAppOptions } from './lock-app.js';

function makeControllers() {
  @Controller()
  class Locked {
    @Get('skip')
    @WithLeaseLock('taken', { onLocked: 'skip' })
    async skip(): Promise<string | undefined> {
      return 'ran';
    }

    @Get('skip-intercepted')
    @UseInterceptors(LeaseLockInterceptor('taken', { onLocked: 'skip' }))
    async skipIntercepted() {
      return 'ran';
    }

    @Get('throw')
    @WithLeaseLock('taken', { onLocked: 'throw' })
    async throw() {}

    @Get('throw-intercepted')
    @UseInterceptors(LeaseLockInterceptor('taken', { onLocked: 'throw' }))
    async throwIntercepted() {}

    @Get('wait')
    @WithLeaseLock('wait')
    async wait() {}
  }

  @Controller('unlocked')
  class Unlocked {
    @Get()
    find() {
      return 'found';
    }
  }

  return [Locked, Unlocked] as const;
}

const start = (options: LockAppOptions) => {
  const [locked, unlocked] = makeControllers();
  return startLockApp({ controllers: [locked, unlocked] }, options);
};

describe.each(Object.entries(PLATFORMS))('on %s', (_platform, makeAdapter) => {
  it('http: false leaves requests and answers alone', async () => {
    const adapter = makeAdapter();
    await using fixture = await start({ adapter, lock: { http: false } });
    await fixture.others.acquire('taken', LIVELY);
    for (const path of ['skip', 'skip-intercepted']) {
      expect(await ask(fixture, path)).toMatchObject({ status: 200, body: '' });
    }
    for (const path of ['throw', 'throw-intercepted']) {
      expect(await ask(fixture, path)).toMatchObject({
        status: 423,
        retryAfter: null,
      });
    }

    const before = await fixture.others.acquire('wait');
    const acquired = nextEvent(fixture, 'acquired', 'wait');
    await askAndLeave(fixture, 'wait', nextEvent(fixture, 'waiting', 'wait'));
    await before.release();
    await acquired;
  });

  it('patches no response', async () => {
    let response: ServerResponse | undefined;
    await using fixture = await start({
      adapter: makeAdapter(),
      configure: (app) =>
        app
          .getHttpServer()
          .prependListener('request', (_: unknown, each: ServerResponse) => {
            response = each;
          }),
    });
    await fixture.others.acquire('taken', LIVELY);
    await ask(fixture, 'throw');
    expect(response).toBeDefined();
    expect(Object.hasOwn(response!, 'writeHead')).toBe(false);
  });
});

it('binds nothing to the application, and nothing to its controllers', async () => {
  const [locked, unlocked] = makeControllers();
  const before = [locked, unlocked].map(describeMetadata);
  await using fixture = await startLockApp({ controllers: [locked, unlocked] });
  expect(globalEnhancersOf(fixture.app)).toEqual([]);
  expect([locked, unlocked].map(describeMetadata)).toEqual(before);
});

function describeMetadata(target: object) {
  return Reflect.getMetadataKeys(target).map((key: unknown) => [
    key,
    Reflect.getMetadata(key, target),
  ]);
}

/** The global guards, interceptors, pipes and filters that modules provide. */
function globalEnhancersOf(app: INestApplication): unknown[] {
  return [...app.get(ModulesContainer).values()].flatMap(({ providers }) =>
    [...providers.keys()].filter((token) => String(token).startsWith('APP_')),
  );
}
