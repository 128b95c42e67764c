/** Runs the examples with decorated methods. */
import type { Type } from '@nestjs/common';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { filter, firstValueFrom, Subject } from 'rxjs';
import { expect } from 'vitest';
import { startLockApp, type LockApp } from '../../decorators/lock-app.js';
import { eventually } from '../../support/eventually.js';
import { findBlock } from '../pages.js';
import {
  bookTransfer,
  sendInvoice,
  sendStatement,
  settleOrder,
  streamRows,
} from '../your-code.js';
import type { SnippetTest } from './snippet-test.js';

export const decorated: Record<string, SnippetTest> = {
  decorator: async (load) => {
    const { OrdersController } = await load<{ OrdersController: Type }>();
    await using fixture = await startLockApp({
      controllers: [OrdersController],
    });
    settleOrder.mockImplementation(async (id, { token, signal }) => ({
      settled: id,
      isLocked: isHeld(fixture, 'order-7'),
      hasLock: typeof token === 'bigint' && signal?.aborted === false,
    }));
    const settle = () =>
      fixture.request('orders/7/settlement', { method: 'POST' });
    const settled = await settle();
    expect([settled.status, await settled.json()]).toEqual([
      201,
      { settled: '7', isLocked: true, hasLock: true },
    ]);

    await fixture.others.acquire('order-7');
    const refused = await settle();
    expect(refused.headers.get('retry-after')).toBe('1');
    expect([refused.status, await refused.json()]).toEqual([
      423,
      JSON.parse(findBlock('answer').code),
    ]);
  },

  observable: async (load) => {
    const { ExportsController } = await load<{ ExportsController: Type }>();
    await using fixture = await startLockApp({
      controllers: [ExportsController],
    });
    const rows = new Subject<{ data: string }>();
    streamRows.mockReturnValue(rows);
    const client = new AbortController();
    const stream = await fixture.request('exports/rows', {
      signal: client.signal,
    });
    expect(stream.status).toBe(200);
    expect(isHeld(fixture, 'export')).toBe(true);
    expect((await fixture.request('exports/rows')).status).toBe(423);
    client.abort();
    await eventually(() => expect(isHeld(fixture, 'export')).toBe(false));

    const whole = fixture.request('exports/rows');
    await eventually(() => expect(rows.observed).toBe(true));
    rows.next({ data: 'row 1' });
    rows.complete();
    expect(await (await whole).text()).toContain('data: row 1');
    await eventually(() => expect(isHeld(fixture, 'export')).toBe(false));
  },

  'several-locks': async (load) => {
    interface Transfers {
      transfer(from: string, to: string): Promise<void>;
    }
    const { Accounts } = await load<{ Accounts: Type<Transfers> }>();
    await using fixture = await startLockApp({ providers: [Accounts] });
    const accounts = fixture.app.get(Accounts);
    bookTransfer.mockImplementation(async () => {
      expect(isHeld(fixture, 'account-1')).toBe(true);
      expect(isHeld(fixture, 'account-2')).toBe(true);
    });
    await Promise.all([
      accounts.transfer('1', '2'),
      accounts.transfer('2', '1'),
    ]);
    expect(bookTransfer.mock.calls.map(String).toSorted()).toEqual([
      '1,2',
      '2,1',
    ]);
  },

  'scheduled-job': async (load) => {
    const { Invoices } = await load<{ Invoices: Type }>();
    await using fixture = await startLockApp({
      imports: [ScheduleModule.forRoot()],
      providers: [Invoices],
    });
    const [job] = fixture.app.get(SchedulerRegistry).getCronJobs().values();
    await job!.fireOnTick();
    await eventually(() => expect(sendInvoice).toHaveBeenCalledTimes(2));
    expect(sendInvoice).toHaveBeenCalledWith('A-2', {
      signal: expect.any(AbortSignal),
    });
    // The work is over, and its minHold is not.
    expect(await fixture.others.tryAcquire('invoices')).toBeUndefined();
  },

  'once-per-fire': async (load) => {
    const { Statements } = await load<{ Statements: Type }>();
    await using fixture = await startLockApp({
      imports: [ScheduleModule.forRoot()],
      providers: [Statements],
    });
    const [job] = fixture.app.get(SchedulerRegistry).getCronJobs().values();
    for (let tick = 0; tick < 2; tick += 1) {
      const end = firstValueFrom(
        fixture.locks.events$.pipe(
          filter(({ type }) => type === 'released' || type === 'skipped'),
        ),
      );
      job!.lastExecution = new Date(); // as its timer does
      void job!.fireOnTick();
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await end;
    }
    expect(sendStatement.mock.calls).toEqual([['S-1']]);
  },
};

function isHeld({ server }: LockApp, name: string): boolean {
  const lease = server.lease({ namespace: 'default', name });
  return (lease?.spec?.holderIdentity ?? '') !== '';
}
