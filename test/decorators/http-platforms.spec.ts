/** Locks on routes, on each platform of Nest: clients that go away, skipped routes, and Retry-After. */
import type { EventEmitter } from 'node:events';
import {
  Body,
  Catch,
  Controller,
  Get,
  Header,
  HttpCode,
  HttpException,
  Injectable,
  Param,
  Post,
  Res,
  Sse,
  UseFilters,
  UseGuards,
  UseInterceptors,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type MessageEvent,
  type NestInterceptor,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { map, of, type Observable } from 'rxjs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  currentLock,
  LeaseLockInterceptor,
  LockErrorFilter,
  LockLostError,
  LockService,
  WithLeaseLock,
} from '../../lib/index.js';
import { ask, askAndLeave, nextEvent, PLATFORMS } from './http-clients.js';
import { defer, LIVELY, startLockApp, type LockApp } from './lock-app.js';

/** Which handlers and methods have run, oldest first. */
const ran: string[] = [];
/** What a handler does after its answer. */
let leftBehind: Promise<unknown>;
let begun = defer();
let goOn = defer();
let finish = defer();
beforeEach(() => {
  ran.length = 0;
  [begun, goOn, finish] = [defer(), defer(), defer()];
});

const SHORT = { waitTimeout: 1_000 };

@Injectable()
class Orders {
  @WithLeaseLock((id: string) => `order-${id}`)
  async settle(id: string) {
    ran.push(`settle ${id}`);
    return id;
  }

  @WithLeaseLock('stock', { onLocked: 'skip' })
  async count(): Promise<number | undefined> {
    return 7;
  }

  @WithLeaseLock('stock', { onLocked: 'throw' })
  async countOrThrow() {
    return 7;
  }
}

class Wrapping implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((data: unknown) => ({ data })));
  }
}

/** Answers as the error says, and in its own words. */
@Catch()
class OwnWords implements ExceptionFilter {
  constructor(private readonly host: HttpAdapterHost) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const status = error instanceof HttpException ? error.getStatus() : 500;
    this.host.httpAdapter.reply(host.getArgByIndex(1), 'own words', status);
  }
}

@Injectable()
class LockedGuard implements CanActivate {
  constructor(private readonly orders: Orders) {}

  async canActivate(): Promise<boolean> {
    return (await this.orders.settle('guard')) === 'guard';
  }
}

@Injectable()
class RefusedGuard implements CanActivate {
  constructor(private readonly orders: Orders) {}

  async canActivate(): Promise<boolean> {
    return (await this.orders.countOrThrow()) > 0;
  }
}

@Controller()
class Routes {
  constructor(
    private readonly orders: Orders,
    private readonly locks: LockService,
  ) {}

  @Get('wait')
  @WithLeaseLock('wait')
  async wait() {
    ran.push('wait');
    return currentLock()?.name;
  }

  @Post('posted')
  @WithLeaseLock('posted')
  async posted(@Body() body: object) {
    ran.push('posted');
    return body;
  }

  @Get('orders/:id')
  async order(@Param('id') id: string) {
    return this.orders.settle(id);
  }

  @Get('guarded')
  @UseGuards(LockedGuard)
  async guarded() {
    ran.push('guarded');
    return 'ran';
  }

  @Get('intercepted')
  @UseInterceptors(LeaseLockInterceptor('intercepted'))
  async intercepted() {
    ran.push('intercepted');
    return currentLock()?.name;
  }

  @Get('two')
  @WithLeaseLock('two-b')
  @WithLeaseLock('two-a')
  async two() {
    ran.push('two');
    return 'ran';
  }

  @Sse('events')
  @WithLeaseLock('events')
  events(): Observable<MessageEvent> {
    ran.push('events');
    return of({ data: 'one' });
  }

  @Get('by-hand')
  async byHand() {
    await this.locks.withLock('by-hand', async () => ran.push('by-hand'));
    return 'ran';
  }

  @Get('holds')
  @WithLeaseLock('holds')
  async holds() {
    ran.push('holds');
    await finish.promise;
    ran.push(`aborted: ${currentLock()?.signal.aborted}`);
    return 'ran';
  }

  @Get('leaves-behind')
  async leavesBehind() {
    leftBehind = this.orders.settle('later');
    return 'answered';
  }

  @Get('begins')
  async begins() {
    await this.orders.settle('first');
    leftBehind = goOn.promise.then(() => this.orders.settle('later'));
    begun.resolve();
    await finish.promise;
  }

  @Get('refused/throw')
  @WithLeaseLock('taken', { onLocked: 'throw', retryInterval: 2_500 })
  async throws() {}

  @Get('refused/timeout')
  @WithLeaseLock('taken', SHORT)
  async timeout() {}

  @Get('refused/provider')
  async provider() {
    return this.orders.countOrThrow();
  }

  @Get('refused/guard')
  @UseFilters(LockErrorFilter)
  @UseGuards(RefusedGuard)
  async refusedByGuard() {}

  @Get('refused/provider-filtered')
  @UseFilters(LockErrorFilter)
  async filteredProvider() {
    return this.orders.countOrThrow();
  }

  @Get('refused/provider-own-header')
  @Header('Retry-After', '30')
  @UseFilters(LockErrorFilter)
  async ownHeaderOfProvider() {
    return this.orders.countOrThrow();
  }

  @Get('refused/intercepted')
  @UseInterceptors(LeaseLockInterceptor('taken', { onLocked: 'throw' }))
  async refused() {}

  @Get('refused/by-hand')
  async refusedByHand() {
    await this.locks.acquire('taken', SHORT);
  }

  @Get('refused/filtered')
  @UseFilters(OwnWords)
  @WithLeaseLock('taken', { onLocked: 'throw' })
  async filtered() {}

  @Get('refused/own-header')
  @Header('Retry-After', '30')
  @WithLeaseLock('taken', { onLocked: 'throw' })
  async ownHeader() {}

  @Sse('refused/events')
  @WithLeaseLock('taken', { onLocked: 'throw' })
  refusedEvents(): Observable<MessageEvent> {
    return of({ data: 'one' });
  }

  @Get('caught')
  async caught() {
    return this.orders.countOrThrow().catch(() => 'stale');
  }

  @Get('other-error')
  async otherError() {
    await this.orders.countOrThrow().catch(() => undefined);
    throw new HttpException('no such page', 404);
  }

  @Get('down')
  @WithLeaseLock('down', { onLocked: 'throw' })
  async down() {}

  @Get('lost')
  @WithLeaseLock('lost')
  async lost() {
    const lock = currentLock()!;
    throw new LockLostError(lock, 'deadline');
  }

  @Get('skip/plain')
  @WithLeaseLock('taken', { onLocked: 'skip' })
  async skip(): Promise<string | undefined> {
    return 'ran';
  }

  @Post('skip/code')
  @HttpCode(202)
  @WithLeaseLock('taken', { onLocked: 'skip' })
  async skipCode(): Promise<string | undefined> {
    return 'ran';
  }

  @Get('skip/wrapped')
  @UseInterceptors(Wrapping)
  @WithLeaseLock('taken', { onLocked: 'skip' })
  async skipWrapped(): Promise<string | undefined> {
    return 'ran';
  }

  @Get('skip/passthrough')
  @WithLeaseLock('taken', { onLocked: 'skip' })
  async skipPassthrough(
    @Res({ passthrough: true }) _response: object,
  ): Promise<string | undefined> {
    return 'ran';
  }

  @Get('skip/response')
  @WithLeaseLock('taken', { onLocked: 'skip' })
  async skipResponse(@Res() response: { send(text: string): unknown }) {
    response.send('ran');
  }

  @Get('skip/intercepted')
  @UseInterceptors(LeaseLockInterceptor('taken', { onLocked: 'skip' }))
  async skipIntercepted() {
    return 'ran';
  }

  @Get('skip/intercepted-response')
  @UseInterceptors(LeaseLockInterceptor('taken', { onLocked: 'skip' }))
  async skipInterceptedResponse(
    @Res() response: { send(text: string): unknown },
  ) {
    response.send('ran');
  }

  @Sse('skip/events')
  @WithLeaseLock('taken', { onLocked: 'skip' })
  skipEvents(): Observable<MessageEvent> {
    return of({ data: 'ran' });
  }

  /** Its name is not watched, so that the head is sent before it is known that the holder is alive. */
  @Sse('skip/intercepted-events')
  @UseInterceptors(LeaseLockInterceptor(() => 'lively', { onLocked: 'skip' }))
  skipInterceptedEvents(): Observable<MessageEvent> {
    return of({ data: 'ran' });
  }

  @Get('count')
  async count() {
    return { count: (await this.orders.count()) ?? 'unknown' };
  }

  @Get('nothing')
  @WithLeaseLock('nothing', { onLocked: 'skip' })
  async nothing() {}
}

describe.each(Object.entries(PLATFORMS))('on %s', (_platform, makeAdapter) => {
  let fixture: LockApp;
  const start = (): Promise<LockApp> =>
    startLockApp(
      { controllers: [Routes], providers: [Orders] },
      { adapter: makeAdapter() },
    );

  beforeAll(async () => {
    fixture = await start();
    await fixture.others.acquire('taken', LIVELY);
    await fixture.others.acquire('stock', LIVELY);
    await fixture.others.acquire('lively', LIVELY);
  });
  afterAll(() => fixture[Symbol.asyncDispose]());

  describe('a client that goes away while its request waits', () => {
    it.each([
      ['a decorated handler', 'wait', 'wait'],
      ['a decorated handler with a body', 'posted', 'posted', { some: 'body' }],
      ['a provider that the handler calls', 'orders/7', 'order-7'],
      ['a provider that a guard calls', 'guarded', 'order-guard'],
      ['an interceptor', 'intercepted', 'intercepted'],
      ['a handler with several locks', 'two', 'two-b'],
      ['a stream of events', 'events', 'events'],
    ] as const)(
      'has the wait cancelled: %s',
      async (_, path, lock, body?: object) => {
        const before = await fixture.others.acquire(lock);
        const cancelled = nextEvent(fixture, 'not-acquired', lock);
        const waiting = nextEvent(fixture, 'waiting', lock);
        await askAndLeave(fixture, path, waiting, body);
        expect(await cancelled).toMatchObject({ reason: 'cancelled' });
        // Its place in the queue is free, and nobody has taken the lock for it.
        const next = nextEvent(fixture, 'acquired', lock);
        const own = fixture.locks.acquire(lock);
        await before.release();
        expect((await next).fencingToken).toBe((await own).fencingToken);
        await (await own).release();
        expect(ran).toEqual([]);
      },
    );

    it('does not stop work that has its lock', async () => {
      const ended = nextEvent(fixture, 'executed');
      await askAndLeave(fixture, 'holds', nextEvent(fixture, 'acquired'));
      finish.resolve();
      expect(await ended).toMatchObject({ name: 'holds' });
      expect(ran).toEqual(['holds', 'aborted: false']);
    });

    it('does not cancel what the handler acquires by LockService', async () => {
      const before = await fixture.others.acquire('by-hand');
      await askAndLeave(fixture, 'by-hand', nextEvent(fixture, 'waiting'));
      const released = nextEvent(fixture, 'released');
      await before.release();
      expect(await released).toMatchObject({ name: 'by-hand' });
      expect(ran).toEqual(['by-hand']);
    });

    it('leaves alone what its request has begun and that calls later', async () => {
      await askAndLeave(fixture, 'begins', begun.promise);
      goOn.resolve();
      expect(await leftBehind).toBe('later');
      finish.resolve();
    });
  });

  it('a client that waits gets its answer', async () => {
    const before = await fixture.others.acquire('wait');
    const waiting = nextEvent(fixture, 'waiting');
    const answered = ask(fixture, 'wait');
    await waiting;
    await before.release();
    expect(await answered).toMatchObject({ status: 200, body: 'wait' });
  });

  it('a wait that goes on after the answer is not cancelled by its end', async () => {
    const before = await fixture.others.acquire('order-later');
    const waiting = nextEvent(fixture, 'waiting');
    const closed = new Promise((resolve) =>
      fixture.app
        .getHttpServer()
        .once('request', (_: unknown, response: EventEmitter) =>
          response.once('close', resolve),
        ),
    );
    expect(await ask(fixture, 'leaves-behind')).toMatchObject({
      body: 'answered',
    });
    await Promise.all([waiting, closed]);
    await before.release();
    expect(await leftBehind).toBe('later');
  });

  describe('a refused route', () => {
    it.each([
      ['throw', '3'],
      ['timeout', '1'],
      ['intercepted', '1'],
      ['events', '1'],
    ])('answers 423 with Retry-After: %s', async (route, retryAfter) => {
      expect(await ask(fixture, `refused/${route}`)).toEqual({
        status: 423,
        retryAfter,
        body: {
          statusCode: 423,
          error: 'LockNotAcquiredError',
          message: 'The lock is held by another request or process',
          lock: 'taken',
        },
      });
    });

    it.each([
      ['a provider', 'provider-filtered', '1'],
      ['a guard', 'guard', '1'],
      [
        'a provider of a route with its own header',
        'provider-own-header',
        '30',
      ],
    ])('does so for %s, by LockErrorFilter', async (_, route, retryAfter) => {
      expect(await ask(fixture, `refused/${route}`)).toMatchObject({
        status: 423,
        retryAfter,
        body: { error: 'LockNotAcquiredError', lock: 'stock' },
      });
    });

    it.each([
      ['a provider', 'provider', 'stock'],
      ['LockService', 'by-hand', 'taken'],
    ])('does so for %s without Retry-After', async (_, route, lock) => {
      expect(await ask(fixture, `refused/${route}`)).toMatchObject({
        status: 423,
        retryAfter: null,
        body: { lock },
      });
    });

    it('does so through an exception filter', async () => {
      expect(await ask(fixture, 'refused/filtered')).toEqual({
        status: 423,
        retryAfter: '1',
        body: 'own words',
      });
    });

    it('keeps a Retry-After of its own', async () => {
      expect(await ask(fixture, 'refused/own-header')).toMatchObject({
        status: 423,
        retryAfter: '30',
      });
    });

    it('has none when it answers something else', async () => {
      expect(await ask(fixture, 'caught')).toEqual({
        status: 200,
        retryAfter: null,
        body: 'stale',
      });
      expect(await ask(fixture, 'other-error')).toMatchObject({
        status: 404,
        retryAfter: null,
      });
    });

    it('answers 503 with Retry-After when its lock was lost', async () => {
      expect(await ask(fixture, 'lost')).toMatchObject({
        status: 503,
        retryAfter: '1',
      });
    });

    it.each([
      ['429 with Retry-After: 7', { code: 429, retryAfter: 7 }, '7'],
      ['500', { code: 500 }, '1'],
      ['403', { code: 403 }, null],
    ] as const)(
      'passes on when to come again, after %s of the API server',
      async (_name, fault, retryAfter) => {
        // An application of its own, which pauses for as long as the API server asks.
        await using paused = await start();
        using _ = paused.server.faults.inject(
          { kind: 'status', ...fault },
          { name: 'down' },
        );
        expect(await ask(paused, 'down')).toMatchObject({
          status: 503,
          retryAfter,
        });
      },
    );
  });

  describe('a skipped route', () => {
    it.each([
      'skip/plain',
      'skip/wrapped',
      'skip/passthrough',
      'skip/response',
      'skip/intercepted',
      'skip/intercepted-response',
    ])('answers 204: %s', async (path) => {
      expect(await ask(fixture, path)).toEqual({
        status: 204,
        retryAfter: null,
        body: '',
      });
    });

    it('answers 204 in place of what @HttpCode says', async () => {
      expect(await ask(fixture, 'skip/code', { method: 'POST' })).toMatchObject(
        { status: 204, body: '' },
      );
    });

    it('answers 204 in place of a stream of events', async () => {
      const { status, body } = await ask(fixture, 'skip/events');
      expect([status, String(body).trim()]).toEqual([204, '']);
    });

    it('has no event in its stream when the head may be sent already', async () => {
      const { body } = await ask(fixture, 'skip/intercepted-events');
      expect(String(body).trim()).toBe('');
    });

    it('leaves its status to a handler that ran, and to one whose provider skipped', async () => {
      expect(await ask(fixture, 'nothing')).toMatchObject({
        status: 200,
        body: '',
      });
      expect(await ask(fixture, 'count')).toMatchObject({
        status: 200,
        body: { count: 'unknown' },
      });
    });
  });
});
