/** Orders: each has a lock of its own, by the parameter of the route. */
import { Controller, Delete, Param, Post } from '@nestjs/common';
import { HeldLock, WithLeaseLock, type LeaseLock } from 'nestjs-k8s-lock';
import { LedgerClient } from './ledger.client.js';

/** Gets the arguments of the method. Any string will do. */
const ofOrder = (orderId: string): string => `order-${orderId}`;

@Controller('orders')
export class OrderController {
  constructor(private readonly ledger: LedgerClient) {}

  /**
   * One at a time for each order, in whichever replica. A client that finds it locked waits, up to 5 s;
   * then the answer is 423 Locked. If the client goes away meanwhile, its wait is over.
   */
  @Post(':id/settlement')
  @WithLeaseLock(ofOrder, {
    onLocked: 'wait',
    waitTimeout: 5_000,
    maxHold: 4_000, // a ledger that hangs does not keep the order locked for ever
  })
  async settle(
    @Param('id') orderId: string,
    @HeldLock() lock?: LeaseLock,
  ): Promise<{ settled: string; under: string | undefined }> {
    await this.ledger.add(`order-${orderId}`, 'settled');
    return { settled: orderId, under: lock?.name };
  }

  /** Under the same lock, but not worth waiting for: 423 Locked at once, with Retry-After. */
  @Delete(':id')
  @WithLeaseLock(ofOrder, { onLocked: 'throw' })
  async cancel(@Param('id') orderId: string): Promise<void> {
    await this.ledger.add(`order-${orderId}`, 'cancelled');
  }
}
