import { Controller, Delete, Param, Post } from '@nestjs/common';
import { HeldLock, WithLeaseLock, type LeaseLock } from 'nestjs-k8s-lock';
import { LedgerService } from './ledger.service.js';

/** Each order has its own lock. The function gets the arguments of the method. */
const ofOrder = (orderId: string): string => `order-${orderId}`;

@Controller('orders')
export class OrderController {
  constructor(private readonly ledger: LedgerService) {}

  /**
   * A request that finds its order locked waits up to 10 s, and is answered 423 Locked after that. If its client
   * goes away meanwhile, the wait is cancelled.
   */
  @Post(':id/settlement')
  @WithLeaseLock(ofOrder, {
    onLocked: 'wait',
    waitTimeout: 10_000,
    maxHold: 4_000, // a ledger that hangs does not keep the order locked
  })
  async settle(
    @Param('id') orderId: string,
    @HeldLock() lock?: LeaseLock,
  ): Promise<{ settled: string; under: string | undefined }> {
    await this.ledger.add(`order-${orderId}`, 'settled');
    return { settled: orderId, under: lock?.name };
  }

  /** The same lock, but a locked order is answered 423 Locked at once, with Retry-After. */
  @Delete(':id')
  @WithLeaseLock(ofOrder, { onLocked: 'throw' })
  async cancel(@Param('id') orderId: string): Promise<void> {
    await this.ledger.add(`order-${orderId}`, 'cancelled');
  }

  /** A request that comes while reminders are being sent has nothing to do, and is answered 204 No Content. */
  @Post('reminders')
  @WithLeaseLock('reminders', { onLocked: 'skip', deleteOnRelease: false })
  async remind(): Promise<{ sent: true } | undefined> {
    await this.ledger.add('reminders', 'sent');
    return { sent: true };
  }
}
