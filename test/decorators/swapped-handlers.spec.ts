/** Tracers that put another function in the place of a handler, as @opentelemetry/instrumentation-nestjs-core does: the answers stay the same. */
import {
  Controller,
  Get,
  Post,
  Res,
  Sse,
  type MessageEvent,
} from '@nestjs/common';
import { RouterExecutionContext } from '@nestjs/core/router/router-execution-context.js';
import { of, type Observable } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WithLeaseLock } from '../../lib/index.js';
import { startLockApp, type LockApp } from './lock-app.js';

const SKIP = { onLocked: 'skip' } as const;

class Inherited {
  @Post('inherited')
  @WithLeaseLock('taken', SKIP)
  async inherited(): Promise<string | undefined> {
    return 'ran';
  }

  @WithLeaseLock('taken', SKIP)
  async overridden(): Promise<string | undefined> {
    return 'ran';
  }
}

@Controller()
class Routes extends Inherited {
  @Post('skip')
  @WithLeaseLock('taken', SKIP)
  async skip(): Promise<string | undefined> {
    return 'ran';
  }

  @Sse('events')
  @WithLeaseLock('taken', SKIP)
  async events(): Promise<Observable<MessageEvent> | undefined> {
    return of({ data: 'ran' });
  }

  @Get('by-itself')
  @WithLeaseLock('taken', SKIP)
  async bySelf(@Res() response: { send(text: string): void }): Promise<void> {
    response.send('ran');
  }

  @Post('calls')
  async calls(): Promise<string> {
    return `called: ${String(await this.skip())}`;
  }

  @Post('overridden')
  override async overridden(): Promise<string> {
    return `overrides: ${String(await super.overridden())}`;
  }
}

type Swap = (handler: (...args: unknown[]) => unknown) => typeof handler;

/** As the instrumentation does it: by the `create` of Nest's router. */
function swapHandlers(swap: Swap): () => void {
  const { prototype } = RouterExecutionContext;
  const create: (...args: any[]) => unknown = Reflect.get(prototype, 'create');
  Reflect.set(
    prototype,
    'create',
    function (
      this: unknown,
      instance: unknown,
      callback: any,
      ...rest: unknown[]
    ) {
      return Reflect.apply(create, this, [instance, swap(callback), ...rest]);
    },
  );
  return () => Reflect.set(prototype, 'create', create);
}

/** The metadata stays: Nest itself needs some of it. */
function copyMetadata(from: object, to: object): void {
  for (const key of Reflect.getMetadataKeys(from)) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, from), to);
  }
}

const SWAPS: [what: string, swap: Swap][] = [
  ['is left as it is', (handler) => handler],
  [
    'is an async function with the name and the metadata',
    (handler) => {
      const swapped = async function (this: unknown, ...args: unknown[]) {
        return handler.apply(this, args);
      };
      Object.defineProperty(swapped, 'name', { value: handler.name });
      copyMetadata(handler, swapped);
      return swapped;
    },
  ],
  [
    'has only the metadata',
    (handler) => {
      const swapped = function (this: unknown, ...args: unknown[]) {
        return handler.apply(this, args);
      };
      copyMetadata(handler, swapped);
      return swapped;
    },
  ],
  [
    'has only the name, and what Nest needs for a stream',
    (handler) => {
      const swapped = async function (this: unknown, ...args: unknown[]) {
        await Promise.resolve();
        return handler.apply(this, args);
      };
      Object.defineProperty(swapped, 'name', { value: handler.name });
      const stream: unknown = Reflect.getMetadata('__sse__', handler);
      if (stream !== undefined) {
        Reflect.defineMetadata('__sse__', stream, swapped);
      }
      return swapped;
    },
  ],
  [
    'has neither',
    (handler) => {
      const swapped = async (...args: unknown[]): Promise<unknown> =>
        Reflect.apply(handler, fixture.app.get(Routes), args);
      const stream: unknown = Reflect.getMetadata('__sse__', handler);
      if (stream !== undefined) {
        Reflect.defineMetadata('__sse__', stream, swapped);
      }
      return swapped;
    },
  ],
];

let fixture: LockApp;

describe.each(SWAPS)('a handler that %s', (_what, swap) => {
  let restore: () => void;

  beforeAll(async () => {
    restore = swapHandlers(swap);
    fixture = await startLockApp({ controllers: [Routes] });
    await fixture.others.acquire('taken', { leaseDuration: 'infinite' });
  });
  afterAll(async () => {
    restore();
    await fixture[Symbol.asyncDispose]();
  });

  it.each([
    ['POST', 'skip'],
    ['POST', 'inherited'],
    ['GET', 'events'],
    ['GET', 'by-itself'],
  ])('answers 204 when it is skipped: %s %s', async (method, path) => {
    const answer = await fixture.request(path, { method });
    expect([answer.status, await answer.text()]).toEqual([204, '']);
  });

  it('answers by itself when what it calls is skipped', async () => {
    const answer = await fixture.request('calls', { method: 'POST' });
    expect([answer.status, await answer.text()]).toEqual([
      201,
      'called: undefined',
    ]);
    const overridden = await fixture.request('overridden', { method: 'POST' });
    expect([overridden.status, await overridden.text()]).toEqual([
      201,
      'overrides: undefined',
    ]);
  });
});
