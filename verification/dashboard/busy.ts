/** What pods do with locks, for the screenshots: holds, lines, a semaphore, a session, a holder that does not renew. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LeaseLock } from '../../lib/index.js';
import type { DashboardApp } from './dashboard-app.js';

/** Resolves when all of it is to be seen. */
export async function beBusy(dashboard: DashboardApp): Promise<void> {
  const a = dashboard.pod('api-6c9f7d-x2k4q');
  const b = dashboard.pod('worker-58b7c9-m8vfn');
  const c = dashboard.pod('worker-58b7c9-zq2ht');
  const sessions = dashboard.pod('importer-0', { renewal: 'session' });
  await a.acquire('dispatcher');
  await b.acquire('search-index');
  await sessions.acquire('catalog/eu');
  await sessions.acquire('catalog/us');
  const dying = dashboard.pod('batch-66d4f8-old1');
  await dying.acquire('warehouse-export', {
    leaseDuration: 3_000,
    autoRenew: false,
  });
  await dying.acquire('mail-digest', {
    leaseDuration: 'infinite',
    autoRenew: false,
  });
  for (const pod of [a, b, c]) {
    void holdInTurns(() => pod.acquire('invoices'), 1_500);
    void holdInTurns(() => pod.acquire('stock-sync'), 700);
  }
  for (const [index, pod] of [a, b, c, a, b].entries()) {
    const slots = pod.semaphore('downloads', { permits: 3 });
    void holdInTurns(() => slots.acquire(), 1_200 + index * 300);
  }
  await sleep(14_000);
}

/** Ends when the pod does. */
async function holdInTurns(
  acquire: () => Promise<LeaseLock>,
  milliseconds: number,
): Promise<void> {
  try {
    for (;;) {
      // oxlint-disable-next-line no-await-in-loop -- in turns
      const lock = await acquire();
      // oxlint-disable-next-line no-await-in-loop -- at work
      await sleep(milliseconds * (0.6 + Math.random()));
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await lock.release();
    }
  } catch {
    // the pod has ended
  }
}
