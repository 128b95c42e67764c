/** The scheduled job: fires in every replica, runs in one. */
import { Injectable } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { WithLeaseLock } from 'nestjs-k8s-lock';
import { InvoiceService } from './invoice.service.js';

@Injectable()
export class InvoiceJob {
  constructor(private readonly invoices: InvoiceService) {}

  /**
   * The lock keeps runs from overlapping. With it the fire is claimed, so that a replica whose clock
   * is late and which finds the lock free again does not run the same fire: see sample 03.
   */
  @Cron('* * * * * *')
  @WithLeaseLock('invoices') // under @Cron: those who find it taken skip this fire
  async sendEverySecond(): Promise<void> {
    await this.invoices.sendDue();
  }
}
