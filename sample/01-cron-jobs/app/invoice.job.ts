/** The scheduled job: fires in every replica, runs in one. */
import { Injectable } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { WithLeaseLock } from 'nestjs-k8s-lock';
import { InvoiceService } from './invoice.service.js';

@Injectable()
export class InvoiceJob {
  constructor(private readonly invoices: InvoiceService) {}

  /**
   * The lock keeps runs from overlapping. It can't keep a replica whose clock is late from running
   * after the first one has finished, so a job should last longer than clocks differ. This one takes
   * 0.5 s, and replicas on one machine have one clock.
   */
  @Cron('* * * * * *')
  @WithLeaseLock('invoices') // under @Cron: those who find it taken skip this fire
  async sendEverySecond(): Promise<void> {
    await this.invoices.sendDue();
  }
}
