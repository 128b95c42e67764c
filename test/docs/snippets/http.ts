/** Runs the examples of the chapter on HTTP and dynamic names. */
import type { Type } from '@nestjs/common';
import { filter, firstValueFrom } from 'rxjs';
import { expect } from 'vitest';
import type { LockEvent } from '../../../lib/index.js';
import {
  LIVELY,
  startLockApp,
  type LockApp,
} from '../../decorators/lock-app.js';
import {
  cancelOrder,
  reserveItem,
  sendReminders,
  settleOrder,
} from '../your-code.js';
import type { SnippetTest } from './snippet-test.js';

export const http: Record<string, SnippetTest> = {
  'dynamic-names': async (load) => {
    const { OrderRoutes } = await load<{ OrderRoutes: Type }>();
    await using fixture = await startLockApp({ controllers: [OrderRoutes] });
    settleOrder.mockImplementation(async (id, { token, signal }) => ({
      settled: id,
      hasLock: typeof token === 'bigint' && signal?.aborted === false,
    }));

    const settled = await fixture.request('orders/7/settlement', {
      method: 'POST',
    });
    expect([settled.status, await settled.json()]).toEqual([
      201,
      { settled: '7', hasLock: true },
    ]);
    expect(
      fixture.server.lease({ namespace: 'default', name: 'order-7' }),
    ).toBeUndefined();

    await fixture.others.acquire('order-7');
    const cancelled = await fixture.request('orders/7', { method: 'DELETE' });
    expect(cancelled.status).toBe(423);
    expect(Number(cancelled.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await cancelled.json()).toMatchObject({ lock: 'order-7' });
    expect(cancelOrder).not.toHaveBeenCalled();

    const client = new AbortController();
    const waiting = nextEvent(fixture, ({ type }) => type === 'waiting');
    const gone = fixture.request('orders/7/settlement', {
      method: 'POST',
      signal: client.signal,
    });
    await waiting;
    const ended = nextEvent(fixture, ({ type }) => type === 'not-acquired');
    client.abort();
    await expect(gone).rejects.toThrow('aborted');
    expect(await ended).toMatchObject({ name: 'order-7', reason: 'cancelled' });
    expect(settleOrder).toHaveBeenCalledTimes(1);

    await fixture.others.acquire('reminders', LIVELY);
    const skipped = await fixture.request('orders/reminders', {
      method: 'POST',
    });
    expect([skipped.status, await skipped.text()]).toEqual([204, '']);
    expect(sendReminders).not.toHaveBeenCalled();
  },

  'stock-interceptor': async (load) => {
    const { StockController } = await load<{ StockController: Type }>();
    await using fixture = await startLockApp({
      controllers: [StockController],
    });
    const acquired = nextEvent(fixture, ({ type }) => type === 'acquired');
    reserveItem.mockImplementation(async (item, { token }) => ({
      item,
      token: String(token),
    }));
    const answer = await fixture.request('stock/apples/reservations', {
      method: 'POST',
    });
    const event = await acquired;
    expect(event).toMatchObject({ name: 'stock-apples' });
    expect(await answer.json()).toEqual({
      item: 'apples',
      token: 'fencingToken' in event && String(event.fencingToken),
    });
  },
};

function nextEvent(
  { locks }: LockApp,
  isIt: (event: LockEvent) => boolean,
): Promise<LockEvent> {
  return firstValueFrom(locks.events$.pipe(filter(isIt)));
}
