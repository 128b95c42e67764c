import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger } from '@nestjs/common';
import { currentLock } from 'nestjs-k8s-lock';

/** A client of a ledger that other applications write to as well. */
@Injectable()
export class LedgerService {
  private readonly logger = new Logger(LedgerService.name);

  async add(account: string, entry: string): Promise<void> {
    const lock = currentLock();
    // Stands for a request that sends the fencing token along, so that the ledger can refuse an entry with
    // a lower token than the last one, and that is given the signal:
    //   fetch(url, { method: 'POST', body: JSON.stringify({ entry, token }), signal: lock?.signal })
    await sleep(100);
    lock?.assertHeld(); // a lost lock is answered 503
    this.logger.log(`${account}: ${entry}, token ${lock?.fencingToken}`);
  }
}
