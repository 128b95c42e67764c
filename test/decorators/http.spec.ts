/** Locked routes, as an HTTP client sees them. */
import {
  Body,
  Controller,
  Get,
  Param,
  Post,
  Query,
  Sse,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type MessageEvent,
  type NestInterceptor,
} from '@nestjs/common';
import { map, Observable, of } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  currentLock,
  HeldLock,
  WithLeaseLock,
  type LeaseLock,
} from '../../lib/index.js';
import { LIVELY, startLockApp, type LockApp } from './lock-app.js';

class Bracket implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((text: string) => `[${text}]`));
  }
}

@Controller()
class Routes {
  @Get('wait')
  @WithLeaseLock('wait', { waitTimeout: 500 })
  async wait() {
    return 'ran';
  }

  @Get('throw')
  @WithLeaseLock('throw', { onLocked: 'throw' })
  async throw() {
    return 'ran';
  }

  @Get('skip')
  @WithLeaseLock('skip', { onLocked: 'skip' })
  async skip(): Promise<string | undefined> {
    return 'ran';
  }

  @Get('down')
  @WithLeaseLock('down', { onLocked: 'throw' })
  async down() {
    return 'ran';
  }

  @Post('orders/:id')
  @WithLeaseLock((id: string) => `order-${id}`)
  async settle(
    @Param('id') id: string,
    @HeldLock() lock: LeaseLock,
    @Query('dry') dry: string,
    @Body() body: { amount: number },
  ) {
    return {
      id,
      dry,
      ...body,
      lock: lock.name,
      token: typeof lock.fencingToken,
    };
  }

  @Get('only-lock')
  @WithLeaseLock('only-lock')
  async onlyLock(@HeldLock() lock: LeaseLock) {
    return lock.name;
  }

  @Get('observable')
  @UseInterceptors(Bracket)
  @WithLeaseLock('observable')
  observable(): Observable<string> {
    return new Observable((subscriber) => {
      subscriber.next(`under ${currentLock()?.name}`);
      subscriber.complete();
    });
  }

  @WithLeaseLock('events')
  @Sse('events')
  events(): Observable<MessageEvent> {
    return of({ data: 'one' }, { data: 'two' });
  }

  @Sse('endless')
  @WithLeaseLock('endless')
  async endless(): Promise<Observable<MessageEvent>> {
    return new Observable((subscriber) => subscriber.next({ data: 'begun' }));
  }
}

let fixture: LockApp;

beforeAll(async () => {
  fixture = await startLockApp({ controllers: [Routes] });
});
afterAll(() => fixture[Symbol.asyncDispose]());

const ask = async (path: string, init?: RequestInit) => {
  const response = await fixture.request(path, init);
  const text = await response.text();
  return {
    status: response.status,
    body: text.startsWith('{') ? JSON.parse(text) : text,
  };
};

const locked = (lock: string) => ({
  status: 423,
  body: {
    statusCode: 423,
    error: 'LockNotAcquiredError',
    message: 'The lock is held by another request or process',
    lock,
  },
});

describe('a locked route', () => {
  it.each(['wait', 'throw'])(
    "under '%s' answers 200 when the lock is free, and 423 when it is taken",
    async (route) => {
      expect(await ask(route)).toEqual({ status: 200, body: 'ran' });
      await using _ = await fixture.others.acquire(route);
      expect(await ask(route)).toEqual(locked(route));
    },
  );

  it("under 'skip' answers with nothing when the lock is taken", async () => {
    expect(await ask('skip')).toEqual({ status: 200, body: 'ran' });
    await using _ = await fixture.others.acquire('skip', LIVELY);
    expect(await ask('skip')).toEqual({ status: 204, body: '' });
  });

  it('answers 503, and tells nothing of the API server, when that fails', async () => {
    using _ = fixture.server.faults.inject(
      { kind: 'status', code: 403 },
      { name: 'down' },
    );
    expect(await ask('down')).toEqual({
      status: 503,
      body: {
        statusCode: 503,
        error: 'LockBackendError',
        message: 'The lock service is not available',
        lock: 'down',
      },
    });
  });

  it('gets its parameters from Nest and the lock from @HeldLock', async () => {
    const answer = await ask('orders/7?dry=yes', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ amount: 12 }),
    });
    expect(answer).toEqual({
      status: 201,
      body: {
        id: '7',
        dry: 'yes',
        amount: 12,
        lock: 'order-7',
        token: 'bigint',
      },
    });
  });

  it('may have @HeldLock as its only parameter', async () => {
    expect(await ask('only-lock')).toEqual({ status: 200, body: 'only-lock' });
  });

  it('may return an Observable, through interceptors', async () => {
    expect(await ask('observable')).toEqual({
      status: 200,
      body: '[under observable]',
    });
    await using _ = await fixture.others.acquire('observable'); // is free
  });
});

describe('a locked stream of server-sent events', () => {
  it('sends the events of an Observable, and releases when it is over', async () => {
    const response = await fixture.request('events');
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    const events = await response.text();
    expect(events.match(/(?<=^data: ).*/gm)).toEqual(['one', 'two']);
    await using _ = await fixture.others.acquire('events');
  });

  it('releases when the client goes away', async () => {
    const client = new AbortController();
    const response = await fixture.request('endless', {
      signal: client.signal,
    });
    const reader = response
      .body!.pipeThrough(new TextDecoderStream())
      .getReader();
    expect((await reader.read()).value).toContain('begun');
    expect(await fixture.others.tryAcquire('endless')).toBeUndefined();
    client.abort();
    await using _ = await fixture.others.acquire('endless');
  });

  it('releases when the client is gone before the stream was opened', async () => {
    const client = new AbortController();
    const before = await fixture.others.acquire('endless');
    const waiting = fixture.server.requests.next({
      verb: 'watch',
      name: 'endless',
    });
    const request = fixture.request('endless', { signal: client.signal });
    await waiting;
    client.abort();
    await expect(request).rejects.toThrow('aborted');
    await before.release();
    await using _ = await fixture.others.acquire('endless');
  });
});
