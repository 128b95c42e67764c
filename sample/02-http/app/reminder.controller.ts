/** Reminders: whoever asks for them while they are being sent already has nothing to wait for. */
import { Controller, Post } from '@nestjs/common';
import { WithLeaseLock } from 'nestjs-k8s-lock';
import { LedgerClient } from './ledger.client.js';

@Controller('reminders')
export class ReminderController {
  constructor(private readonly ledger: LedgerClient) {}

  /** Found locked, it is skipped: the answer is 204 No Content. */
  @Post()
  @WithLeaseLock('reminders', { onLocked: 'skip', deleteOnRelease: false })
  async send(): Promise<{ sent: true } | undefined> {
    await this.ledger.add('reminders', 'sent');
    return { sent: true };
  }
}
