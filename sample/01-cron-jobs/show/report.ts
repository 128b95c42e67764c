/** What a replica tells its parent about its work and its lock, and how it comes to know. */
import type { INestApplication } from '@nestjs/common';
import { currentLock, LockService } from 'nestjs-k8s-lock';
import { InvoiceService } from '../app/invoice.service.js';
import { tellParent } from '../../stage/parent.js';

/**
 * One message. `at` is the monotonic clock of the machine in nanoseconds, the same for all of its
 * processes, so that what they report can be put in order.
 */
export type Report =
  | { type: 'begin'; at: bigint; run: number; token: bigint }
  | { type: 'end'; at: bigint; run: number }
  | { type: 'skipped'; at: bigint; holder?: string }
  | { type: 'waiting'; at: bigint };

/**
 * Reports from now on. The work is watched from around the method that does it: what counts is when
 * it runs, whatever the lock says; and the application need not know.
 */
export function reportWork(app: INestApplication): void {
  const invoices = app.get(InvoiceService);
  const sendDue = invoices.sendDue.bind(invoices);
  let runs = 0;
  invoices.sendDue = async () => {
    const run = ++runs;
    const token = currentLock()!.fencingToken;
    send({
      type: 'begin',
      at: process.hrtime.bigint(),
      run,
      token,
    });
    try {
      return await sendDue();
    } finally {
      send({ type: 'end', at: process.hrtime.bigint(), run });
    }
  };

  app.get(LockService).events$.subscribe((event) => {
    const at = process.hrtime.bigint();
    if (event.type === 'skipped') {
      send({ type: 'skipped', at, holder: event.holder });
    } else if (event.type === 'waiting') {
      send({ type: 'waiting', at });
    }
  });
}

function send(report: Report): void {
  tellParent(report);
}
