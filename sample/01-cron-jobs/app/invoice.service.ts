/** The work that must not run in two places at a time. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { currentLock } from 'nestjs-k8s-lock';

const DUE = ['A-17', 'A-18', 'A-19', 'A-20', 'A-21'];

@Injectable()
export class InvoiceService {
  /** Sends what is due, and returns the numbers of what was sent. */
  async sendDue(): Promise<string[]> {
    const signal = currentLock()?.signal;
    const sent: string[] = [];
    for (const invoice of DUE) {
      // Lost, or the application is closing: stop here, before another replica can start.
      if (signal?.aborted) {
        break;
      }
      await sleep(100); // stands for the mail server
      sent.push(invoice);
    }
    return sent;
  }
}
