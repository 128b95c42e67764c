import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { currentLock, WithLeaseLock } from 'nestjs-k8s-lock';

const DUE = ['A-17', 'A-18', 'A-19', 'A-20', 'A-21'];

@Injectable()
export class InvoiceService {
  private readonly logger = new Logger(InvoiceService.name);

  /** Fires in every pod, and runs in one: the others find the lock taken, or the fire already run, and skip. */
  @Cron('* * * * * *')
  @WithLeaseLock('invoices')
  async sendEverySecond(): Promise<void> {
    await this.sendDue();
  }

  /** @returns the numbers of the invoices that were sent */
  async sendDue(): Promise<string[]> {
    const signal = currentLock()?.signal;
    const sent: string[] = [];
    for (const invoice of DUE) {
      // The lock is lost, or the application is closing: stop before another pod starts.
      if (signal?.aborted) {
        break;
      }
      await sleep(100); // stands for the mail server
      sent.push(invoice);
    }
    this.logger.log(`Sent ${sent.join(', ')}`);
    return sent;
  }
}
