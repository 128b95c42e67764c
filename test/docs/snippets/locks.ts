/** Runs the examples that work with LockService, its handles and its events. */
import type { Type } from '@nestjs/common';
import { expect, vi } from 'vitest';
import {
  LockLostError,
  type K8sLockModuleOptions,
  type LockState,
} from '../../../lib/index.js';
import { startLockApp, type LockApp } from '../../decorators/lock-app.js';
import {
  alertSomebody,
  bookTransfer,
  Database,
  findPages,
  importPage,
  importRows,
  writePage,
} from '../your-code.js';
import type { SnippetTest, Statements } from './snippet-test.js';
import { aborted } from '../../support/aborted.js';

/** A holder that learns quickly what has become of its lock. */
const ATTENTIVE: K8sLockModuleOptions = {
  leaseDuration: 1_000,
  renewInterval: 20,
};

export const locks: Record<string, SnippetTest> = {
  acquire: async (load) => {
    const { Importer } = await load<{ Importer: Type<{ run(): unknown }> }>();
    await using fixture = await startLockApp({ providers: [Importer] });
    const seen = watchImport(fixture);
    await fixture.app.get(Importer).run();
    expect([seen.isHeld, isHeld(fixture)]).toEqual([true, false]);
  },

  'acquire-finally': async (load) => {
    const program = await load<Statements>();
    await using fixture = await startLockApp({});
    const error = new Error('no such file');
    importRows.mockRejectedValueOnce(error);
    await expect(program.default(fixture.locks)).rejects.toBe(error);
    expect(isHeld(fixture)).toBe(false);
  },

  'try-acquire': async (load) => {
    const program = await load<Statements<string>>();
    await using fixture = await startLockApp({});
    const seen = watchImport(fixture);
    const other = await fixture.others.acquire('import');
    expect(await program.default(fixture.locks)).toBe('busy');
    await other.release();
    expect(await program.default(fixture.locks)).toBe('done');
    expect([seen.isHeld, isHeld(fixture)]).toEqual([true, false]);
  },

  'with-lock': async (load) => {
    const program = await load<Statements<{ rows: string[] }>>();
    await using fixture = await startLockApp({});
    const seen = watchImport(fixture);
    expect((await program.default(fixture.locks)).rows).toHaveLength(2);
    expect([seen.isHeld, isHeld(fixture)]).toEqual([true, false]);
    await expect(
      fixture.locks.withLock('import', () => program.default(fixture.locks)),
    ).resolves.toHaveProperty('rows');
  },

  'acquire-all': async (load) => {
    const { Ledger } = await load<{
      Ledger: Type<{ transfer(from: string, to: string): Promise<void> }>;
    }>();
    await using fixture = await startLockApp({ providers: [Ledger] });
    const ledger = fixture.app.get(Ledger);
    const held: boolean[] = [];
    bookTransfer.mockImplementation(async (from, to, options) => {
      held.push(isHeld(fixture, `account-${from}`));
      held.push(isHeld(fixture, `account-${to}`));
      expect(options?.tokens).toEqual([expect.any(BigInt), expect.any(BigInt)]);
    });
    await Promise.all([ledger.transfer('1', '2'), ledger.transfer('2', '1')]);
    expect(held).toEqual([true, true, true, true]);
    expect(isHeld(fixture, 'account-1')).toBe(false);
  },

  'assert-held': async (load) => {
    const program = await load<Statements>();
    await using fixture = await startLockApp({}, { lock: ATTENTIVE });
    findPages.mockResolvedValueOnce(['1', '2', '3']);
    importPage.mockImplementation(async (page, { signal }) => {
      if (page === '2') {
        await fixture.others.forceRelease('import');
        await aborted(signal!);
      }
    });
    await expect(program.default(fixture.locks)).rejects.toThrow(LockLostError);
    expect(importPage.mock.calls.map(([page]) => page)).toEqual(['1', '2']);
  },

  'current-lock': async (load) => {
    interface Store {
      save(page: string): Promise<void>;
    }
    const { PageStore } = await load<{ PageStore: Type<Store> }>();
    await using fixture = await startLockApp({ providers: [PageStore] });
    const store = fixture.app.get(PageStore);
    const token = await fixture.locks.withLock('import', async (lock) => {
      await store.save('1');
      return lock.fencingToken;
    });
    await store.save('2');
    expect(writePage.mock.calls).toEqual([
      ['1', token],
      ['2', undefined],
    ]);
  },

  inspect: async (load) => {
    const program =
      await load<Statements<{ state: LockState; evicted?: LockState }>>();
    await using fixture = await startLockApp({});
    const log = vi.spyOn(console, 'log').mockReturnValue();
    const lock = await fixture.others.acquire('import');
    const { state, evicted } = await program.default(fixture.locks);
    expect(state).toMatchObject({ holder: lock.holderIdentity });
    expect(evicted).toEqual(state);
    expect(log.mock.calls).toEqual([
      [expect.stringMatching(`^${lock.holderIdentity} since ....-..-..T`)],
      ['import', 'held', 0],
    ]);
    expect(isHeld(fixture)).toBe(false);
    expect(await program.default(fixture.locks)).toMatchObject({
      evicted: undefined,
    });
  },

  events: async (load) => {
    const program = await load<Statements>();
    await using fixture = await startLockApp({}, { lock: ATTENTIVE });
    await program.default(fixture.locks);
    const lock = await fixture.locks.acquire('import');
    await fixture.others.forceRelease('import');
    await aborted(lock.signal);
    expect(alertSomebody.mock.calls).toEqual([['import: freed']]);
  },

  'fenced-store': async (load) => {
    interface Store {
      set(account: string, balance: number, token: bigint): Promise<void>;
    }
    const { Balances } = await load<{
      Balances: new (database: Database) => Store;
    }>();
    const account = { id: 'a', balance: 0, fencing_token: 0n };
    const balances = new Balances(new Database([account]));
    await using fixture = await startLockApp({}, { lock: ATTENTIVE });
    const paused = await fixture.locks.acquire('a');
    await balances.set('a', 1, paused.fencingToken);
    await balances.set('a', 2, paused.fencingToken);
    await fixture.others.forceRelease('a');
    const next = await fixture.others.acquire('a');
    await balances.set('a', 3, next.fencingToken);
    await expect(balances.set('a', 4, paused.fencingToken)).rejects.toThrow(
      'a was written under a later lock',
    );
    expect(account.balance).toBe(3);
  },
};

function isHeld({ server }: LockApp, name = 'import'): boolean {
  const lease = server.lease({ namespace: 'default', name });
  return (lease?.spec?.holderIdentity ?? '') !== '';
}

/** Whether the lock was held during the import. */
function watchImport(fixture: LockApp): { isHeld?: boolean } {
  const seen: { isHeld?: boolean } = {};
  importRows.mockImplementation(async ({ signal }) => {
    seen.isHeld = isHeld(fixture) && signal?.aborted === false;
    return ['row 1', 'row 2'];
  });
  return seen;
}
