/** The same work on demand: a route under the job's own lock. */
import { Controller, Post } from '@nestjs/common';
import { WithLeaseLock } from 'nestjs-k8s-lock';
import { InvoiceService } from './invoice.service.js';

@Controller('invoices')
export class InvoiceController {
  constructor(private readonly invoices: InvoiceService) {}

  /** Waits for a run that is under way, in whichever replica; after 1 s it answers 423 Locked. */
  @Post('send')
  @WithLeaseLock('invoices', { waitTimeout: 1_000 })
  async send(): Promise<{ sent: string[] }> {
    return { sent: await this.invoices.sendDue() };
  }
}
