/** A client of the ledger: a service outside of this application, which the work under the locks goes to. */
import { BadGatewayException, Injectable } from '@nestjs/common';
import { currentLock } from 'nestjs-k8s-lock';

@Injectable()
export class LedgerClient {
  /** Adds an entry to an account, under the lock of whoever calls. */
  async add(account: string, entry: string): Promise<void> {
    const lock = currentLock();
    const answer = await fetch(
      new URL(`accounts/${account}/entries`, process.env.LEDGER_URL),
      {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          entry,
          by: process.env.POD_NAME,
          // The ledger refuses an entry from under an older lock than the last one.
          token: String(lock?.fencingToken),
        }),
        // When the lock is lost this rejects with a LockLostError, which answers the client with 503.
        signal: lock?.signal,
      },
    );
    if (!answer.ok) {
      throw new BadGatewayException(await answer.text());
    }
  }
}
