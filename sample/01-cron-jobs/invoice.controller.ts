import { Controller, Post } from '@nestjs/common';
import { WithLeaseLock } from 'nestjs-k8s-lock';
import { InvoiceService } from './invoice.service.js';

@Controller('invoices')
export class InvoiceController {
  constructor(private readonly invoices: InvoiceService) {}

  /** The lock of the job: waits for a run in any pod to end, and answers 423 Locked after 1 s. */
  @Post('send')
  @WithLeaseLock('invoices', { waitTimeout: 1_000 })
  async send(): Promise<{ sent: string[] }> {
    return { sent: await this.invoices.sendDue() };
  }
}
