/** LeaseLockInterceptor: the lock of a handler's call, wherever it is bound. */
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  Controller,
  Get,
  Injectable,
  Module,
  Param,
  Sse,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type INestApplication,
  type MessageEvent,
  type ModuleMetadata,
  type NestInterceptor,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import {
  defer as deferObservable,
  map,
  Observable,
  Subject,
  takeUntil,
  type Subscription,
} from 'rxjs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  currentLock,
  LeaseLockInterceptor,
  LockConfigurationError,
  LockService,
  WithLeaseLock,
  type LockEvent,
} from '../../lib/index.js';
import { ask, nextEvent } from './http-clients.js';
import { defer, LIVELY, startLockApp, type LockApp } from './lock-app.js';

const tenant = new AsyncLocalStorage<string>();

class Tenant implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return tenant.run('acme', () => next.handle());
  }
}

class Bracket implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next
      .handle()
      .pipe(map((text: string) => `[${text} ${currentLock()?.name}]`));
  }
}

let impatience = new Subject<void>();

/** Answers without the handler when the test says so, as one with a timeout does. */
class Impatient implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return new Observable((subscriber) => {
      const handled: Subscription = next
        .handle()
        .pipe(takeUntil(impatience))
        .subscribe({
          next: (value) => subscriber.next(value),
          error: (error: unknown) => subscriber.error(error),
          complete: () => {
            subscriber.next('too late');
            subscriber.complete();
          },
        });
      return handled;
    });
  }
}

@Injectable()
class OrderLock extends LeaseLockInterceptor((context) => {
  const { params } = context
    .switchToHttp()
    .getRequest<{ params: { id: string } }>();
  return params.id === 'none' ? '' : `order-${params.id}`;
}) {}

let begun = defer();
let work = defer();
let stream = new Subject<string>();

@Controller()
class Routes {
  @Get('plain')
  @UseInterceptors(LeaseLockInterceptor('plain', { onLocked: 'throw' }))
  async plain() {
    return currentLock()?.name;
  }

  @Get('orders/:id')
  @UseInterceptors(OrderLock)
  async order(@Param('id') id: string) {
    return `${id} under ${currentLock()?.name}`;
  }

  @Get('between')
  @UseInterceptors(Tenant, LeaseLockInterceptor('between'), Bracket)
  async between() {
    return `${tenant.getStore()} under ${currentLock()?.name}`;
  }

  @Get('same')
  @UseInterceptors(LeaseLockInterceptor('same'))
  @WithLeaseLock('same')
  async same() {
    return currentLock()?.name;
  }

  /** By name, the lock of the decorator would come first. */
  @Get('both')
  @UseInterceptors(LeaseLockInterceptor('both-2'))
  @WithLeaseLock('both-1')
  async both() {
    return currentLock()?.name;
  }

  @Get('fails')
  @UseInterceptors(LeaseLockInterceptor('fails'))
  async fails() {
    throw new Error('own error');
  }

  @Get('generator')
  @UseInterceptors(LeaseLockInterceptor('generator'))
  async generator() {
    return (function* () {
      begun.resolve();
      yield currentLock()?.name;
    })();
  }

  @Get('impatient')
  @UseInterceptors(Impatient, LeaseLockInterceptor('impatient'))
  async impatient() {
    begun.resolve();
    await work.promise;
    return 'in time';
  }

  @Get('impatient-stream')
  @UseInterceptors(Impatient, LeaseLockInterceptor('impatient-stream'))
  impatientStream(): Observable<string> {
    return stream;
  }

  @Get('observable')
  @UseInterceptors(LeaseLockInterceptor('observable'))
  observable(): Observable<string | undefined> {
    return deferObservable(() => {
      const lock = currentLock()?.name;
      return stream.pipe(map((text) => `${text} under ${lock}`));
    });
  }

  @Sse('events')
  @UseInterceptors(LeaseLockInterceptor('events'))
  events(): Observable<MessageEvent> {
    return stream.pipe(map((data) => ({ data })));
  }
}

@Controller('class')
@UseInterceptors(LeaseLockInterceptor('class'))
class LockedRoutes {
  @Get('same')
  @WithLeaseLock('class')
  async same() {
    return currentLock()?.name;
  }

  @Get('one')
  async one() {
    return currentLock()?.name;
  }

  @Get('other')
  async other() {
    return currentLock()?.name;
  }
}

let fixture: LockApp;
const events: LockEvent[] = [];
const namesOf = (type: LockEvent['type']) =>
  events.filter((event) => event.type === type).map(({ name }) => name);
const bodyOf = async (path: string) => (await ask(fixture, path)).body;

beforeAll(async () => {
  fixture = await startLockApp({ controllers: [Routes, LockedRoutes] });
  fixture.locks.events$.subscribe((event) => events.push(event));
});
beforeEach(() => {
  [begun, work] = [defer(), defer()];
  [stream, impatience] = [new Subject(), new Subject()];
  events.length = 0;
});
afterAll(() => fixture[Symbol.asyncDispose]());

it('a handler with a decorator for the same lock ends with one event', async () => {
  expect(await bodyOf('class/same')).toBe('class');
  await fixture.others.withLock('class', () => undefined);
  expect(namesOf('executed')).toEqual(['class']);
});

describe('the handler', () => {
  it('runs under the lock, which is free afterwards', async () => {
    expect(await bodyOf('plain')).toBe('plain');
    expect(namesOf('executed')).toEqual(['plain']);
    expect(namesOf('released')).toEqual(['plain']);
    await using _ = await fixture.others.acquire('plain');
    expect(await ask(fixture, 'plain')).toMatchObject({
      status: 423,
      body: { lock: 'plain' },
    });
  });

  it('runs under a lock that the call names', async () => {
    expect(await bodyOf('orders/7')).toBe('7 under order-7');
    expect(await ask(fixture, 'orders/none')).toMatchObject({
      status: 500,
      body: { error: 'LockConfigurationError' },
    });
  });

  it('is surrounded by the other interceptors in their order', async () => {
    expect(await bodyOf('between')).toBe('[acme under between between]');
  });

  it('runs on under the same lock of its decorator', async () => {
    expect(await bodyOf('same')).toBe('same');
    expect(namesOf('acquired')).toEqual(['same']);
    expect(namesOf('released')).toEqual(['same']);
  });

  it('has the lock of the interceptor before that of its decorator', async () => {
    expect(await bodyOf('both')).toBe('both-1');
    expect(namesOf('acquired')).toEqual(['both-2', 'both-1']);
    expect(namesOf('released')).toEqual(['both-1', 'both-2']);
  });

  it('may not return a generator, whose body would run after the release', async () => {
    expect(await ask(fixture, 'generator')).toMatchObject({
      status: 500,
      body: { error: 'LockConfigurationError' },
    });
    expect(namesOf('failed')).toEqual(['generator']);
    expect(namesOf('released')).toEqual(['generator']);
  });

  it('has its own error, after the release', async () => {
    expect(await ask(fixture, 'fails')).toMatchObject({ status: 500 });
    expect(events.map(({ type }) => type)).toEqual([
      'acquired',
      'failed',
      'released',
    ]);
  });

  it('of a class are all under its lock', async () => {
    expect([await bodyOf('class/one'), await bodyOf('class/other')]).toEqual([
      'class',
      'class',
    ]);
  });
});

describe('the lock is held', () => {
  it('until the Observable of the handler completes', async () => {
    const acquired = nextEvent(fixture, 'acquired');
    const answer = bodyOf('observable');
    await acquired;
    await subscribed();
    stream.next('one');
    expect(namesOf('released')).toEqual([]);
    stream.next('two');
    stream.complete();
    expect(await answer).toBe('two under observable');
    expect(namesOf('released')).toEqual(['observable']);
  });

  it('until the client of a stream of events goes away', async () => {
    const client = new AbortController();
    const acquired = nextEvent(fixture, 'acquired');
    const response = await fixture.request('events', {
      signal: client.signal,
    });
    expect(response.status).toBe(200);
    await acquired;
    await subscribed();
    expect(namesOf('released')).toEqual([]);
    const released = nextEvent(fixture, 'released');
    client.abort();
    expect(await released).toMatchObject({ name: 'events' });
    expect(stream.observed).toBe(false);
  });

  it('until an async handler has ended, when the answer does not wait for it', async () => {
    const answer = bodyOf('impatient');
    await begun.promise;
    impatience.next();
    expect(await answer).toBe('too late');
    expect(namesOf('released')).toEqual([]);
    const released = nextEvent(fixture, 'released');
    work.resolve();
    expect(await released).toMatchObject({ name: 'impatient' });
  });

  it('until the next value of an Observable that the answer does not wait for', async () => {
    const acquired = nextEvent(fixture, 'acquired');
    const answer = bodyOf('impatient-stream');
    await acquired;
    await subscribed();
    impatience.next();
    expect(await answer).toBe('too late');
    expect(stream.observed).toBe(true);
    const released = nextEvent(fixture, 'released');
    stream.next('value');
    expect(stream.observed).toBe(false);
    expect(await released).toMatchObject({ name: 'impatient-stream' });
  });

  it('by nobody when the answer did not wait for it', async () => {
    const before = await fixture.others.acquire('impatient');
    const waiting = nextEvent(fixture, 'waiting');
    const answer = bodyOf('impatient');
    await waiting;
    const cancelled = nextEvent(fixture, 'not-acquired');
    impatience.next();
    expect(await answer).toBe('too late');
    expect(await cancelled).toMatchObject({ reason: 'cancelled' });
    await before.release();
  });
});

describe('for the whole application', () => {
  @Controller()
  class Anything {
    @Get('anything')
    async run() {
      return currentLock()?.name ?? 'unlocked';
    }
  }

  it.each<[string, ModuleMetadata, ((app: INestApplication) => void)?]>([
    [
      'as APP_INTERCEPTOR',
      {
        providers: [
          { provide: APP_INTERCEPTOR, useClass: LeaseLockInterceptor('any') },
        ],
      },
    ],
    [
      'as a provider',
      {
        providers: [{ provide: 'any', useClass: LeaseLockInterceptor('any') }],
      },
      (app) => app.useGlobalInterceptors(app.get<NestInterceptor>('any')),
    ],
    [
      'made by hand',
      {},
      (app) =>
        app.useGlobalInterceptors(
          new (LeaseLockInterceptor('any'))(app.get(LockService)),
        ),
    ],
  ])('locks every route: %s', async (_, metadata, configure) => {
    await using app = await startLockApp(
      { controllers: [Anything], ...metadata },
      { configure },
    );
    expect(await ask(app, 'anything')).toMatchObject({ body: 'any' });
  });

  it('answers 204 when it skips', async () => {
    const useClass = LeaseLockInterceptor('any', { onLocked: 'skip' });
    await using app = await startLockApp({
      controllers: [Anything],
      providers: [{ provide: APP_INTERCEPTOR, useClass }],
    });
    await using _ = await app.others.acquire('any', LIVELY);
    expect(await ask(app, 'anything')).toMatchObject({ status: 204, body: '' });
  });
});

describe('at startup', () => {
  it('all faults are reported, with their places', async () => {
    const shared = LeaseLockInterceptor('shared', { renewInterval: 60_000 });
    @Controller('wrong')
    @UseInterceptors(make(7))
    class Wrong {
      @Get()
      @UseInterceptors(make('name', { onLocked: 'ignore', catchUp: true }))
      async run() {}

      @Get('shared')
      @UseInterceptors(shared)
      async shared() {}
    }
    @Module({ providers: [{ provide: APP_INTERCEPTOR, useClass: make('') }] })
    class GlobalModule {}

    const start = startLockApp({
      imports: [GlobalModule],
      controllers: [Wrong],
    });
    const error: unknown = await start.catch((reason: unknown) => reason);
    if (!(error instanceof LockConfigurationError)) {
      throw error;
    }
    expect(error.faults.toSorted()).toEqual([
      expect.stringMatching(
        /^LeaseLockInterceptor\(\) on Wrong.run: "catchUp" is not an option/,
      ),
      `LeaseLockInterceptor() on Wrong.run: onLocked must be 'wait', 'skip' or 'throw', not "ignore"`,
      expect.stringMatching(
        /^LeaseLockInterceptor\(\) on Wrong.shared: renewInterval must be at most/,
      ),
      'LeaseLockInterceptor() on Wrong: the lock name must be a string, not 7',
      'LeaseLockInterceptor() on a provider of GlobalModule: the lock name must not be empty',
    ]);
  });

  it('needs the module', async () => {
    const start = Test.createTestingModule({ controllers: [Routes] }).compile();
    await expect(start).rejects.toThrow(/dependencies of the .*LockService/);
  });

  it('what useValue provides may be anything', async () => {
    const useValue: object = Object.create(Object.create(null));
    await using app = await startLockApp({
      providers: [{ provide: 'value', useValue }],
    });
    expect(app.app.get('value')).toBe(useValue);
  });

  it('a fixed name is watched under skip, before the first request', async () => {
    await using first = await startLockApp({});
    const { server } = first;
    @Controller()
    class Job {
      @Get('job')
      @UseInterceptors(LeaseLockInterceptor('job', { onLocked: 'skip' }))
      async run() {}
    }
    await using _ = await startLockApp({ controllers: [Job] }, { server });
    const watch = server.requests.next({ verb: 'watch', name: 'job' });
    expect(await watch).toMatchObject({ name: 'job' });
  });
});

/** The handler has returned its Observable, and that has a subscriber. */
async function subscribed(): Promise<void> {
  while (!stream.observed) {
    // oxlint-disable-next-line no-await-in-loop -- until it is
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** As JavaScript may call it. */
function make(
  ...parameters: unknown[]
): ReturnType<typeof LeaseLockInterceptor> {
  return Reflect.apply(LeaseLockInterceptor, undefined, parameters);
}
