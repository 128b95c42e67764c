/** The lock errors that callers of message handlers, gateways, resolvers and routes get, and the details that stay hidden. */
import { Controller, Get, type ArgumentsHost } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { EMPTY, isObservable, lastValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import {
  LockBackendError,
  LockConfigurationError,
  LockErrorFilter,
  LockLostError,
  LockNotAcquiredError,
  WithLeaseLock,
  type LockError,
} from '../../lib/index.js';
import { startLockApp } from './lock-app.js';

const lock = { name: 'order-7', namespace: 'jobs', leaseName: 'order-7' };
const held = new LockNotAcquiredError(lock, 'held', {
  holder: 'orders-5d9f-x2_1',
  since: new Date(),
});
const forbidden = new LockBackendError(lock, 'forbidden', {
  message: 'Grant these credentials … at https://10.0.0.1',
});
const ANSWER = {
  status: 'error',
  statusCode: 423,
  error: 'LockNotAcquiredError',
  message: 'The lock is held by another request or process',
  lock: 'order-7',
};

function hostOf(type: string, ...args: unknown[]): ArgumentsHost {
  const host = new ExecutionContextHost(args);
  host.setType(type);
  return host;
}

describe('an error', () => {
  it.each([held, forbidden])(
    'has no holder, address or advice in what strangers may see: $name',
    (error) => {
      for (const text of [error.message, JSON.stringify(error)]) {
        expect(text).toContain('order-7');
        expect(text).not.toMatch(/orders-5d9f|10\.0\.0\.1|Grant|jobs/);
      }
      expect(error.explanation).toMatch(/orders-5d9f|10\.0\.0\.1/);
    },
  );
});

describe('LockErrorFilter', () => {
  const filter = new LockErrorFilter();

  it('rejects the call of a message handler with the answer', async () => {
    const result = filter.catch(held, hostOf('rpc', {}, {}));
    expect(isObservable(result)).toBe(true);
    await expect(
      lastValueFrom(isObservable(result) ? result : EMPTY),
    ).rejects.toEqual(ANSWER);
  });

  it('emits to a client of socket.io', () => {
    const emitted: unknown[] = [];
    const client = {
      emit: (...args: unknown[]) => emitted.push(args),
      send: () => undefined,
    };
    filter.catch(held, hostOf('ws', client, {}));
    expect(emitted).toEqual([['exception', ANSWER]]);
  });

  it('sends to a client of ws', () => {
    const sent: string[] = [];
    const client = {
      readyState: 1,
      send: (text: string) => sent.push(text),
      emit: () => undefined,
    };
    filter.catch(held, hostOf('ws', client, {}));
    expect(sent.map((text): unknown => JSON.parse(text))).toEqual([
      { event: 'exception', data: ANSWER },
    ]);
  });

  it.each<[string, LockError, object]>([
    [
      'LOCK_NOT_ACQUIRED',
      held,
      { statusCode: 423, lock: 'order-7', reason: 'held', retryAfter: 1 },
    ],
    [
      'LOCK_LOST',
      new LockLostError(lock, 'deadline'),
      { statusCode: 503, lock: 'order-7', reason: 'deadline', retryAfter: 1 },
    ],
    [
      'LOCK_BACKEND',
      forbidden,
      { statusCode: 503, lock: 'order-7', reason: 'forbidden' },
    ],
    [
      'LOCK_CONFIGURATION',
      new LockConfigurationError(['The token in /etc/kube is wrong']),
      { statusCode: 500 },
    ],
  ])(
    'gives GraphQL an error with extensions: %s',
    (code, error, extensions) => {
      const answer = filter.catch(error, hostOf('graphql'));
      expect(answer).toMatchObject({
        message: Reflect.get(Object(error.toJSON()), 'message'),
        cause: error,
      });
      expect(Reflect.get(Object(answer), 'extensions')).toEqual({
        code,
        error: error.name,
        ...extensions,
      });
    },
  );

  it('leaves the error to hosts of other kinds', () => {
    expect(filter.catch(held, hostOf('necord'))).toBe(held);
  });

  it('leaves the answer of a route as it is', async () => {
    @Controller()
    class Routes {
      @Get()
      @WithLeaseLock('order-7', { onLocked: 'throw' })
      async run(): Promise<string> {
        return 'ran';
      }
    }
    await using fixture = await startLockApp({
      controllers: [Routes],
      providers: [{ provide: APP_FILTER, useClass: LockErrorFilter }],
    });
    await using _ = await fixture.others.acquire('order-7');
    const answer = await fixture.request('/');
    const { status: _status, ...body } = ANSWER;
    expect([answer.status, await answer.json()]).toEqual([423, body]);
    expect(answer.headers.get('retry-after')).toBe('1');
  });
});
