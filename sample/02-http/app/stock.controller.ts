/** Stock: all routes of the class are under the lock of the item, by an interceptor. */
import {
  Controller,
  Delete,
  Param,
  Post,
  UseInterceptors,
  type ExecutionContext,
} from '@nestjs/common';
import { LeaseLockInterceptor } from 'nestjs-k8s-lock';
import { LedgerClient } from './ledger.client.js';

interface ItemRequest {
  readonly params: { readonly item: string };
}

/** An interceptor gets no arguments of a method, but the request. */
const ofItem = (context: ExecutionContext): string =>
  `stock-${context.switchToHttp().getRequest<ItemRequest>().params.item}`;

@Controller('stock/:item')
@UseInterceptors(LeaseLockInterceptor(ofItem, { waitTimeout: 5_000 }))
export class StockController {
  constructor(private readonly ledger: LedgerClient) {}

  @Post('reservations')
  async reserve(@Param('item') item: string): Promise<{ reserved: string }> {
    await this.ledger.add(`stock-${item}`, 'reserved');
    return { reserved: item };
  }

  @Delete('reservations')
  async free(@Param('item') item: string): Promise<{ freed: string }> {
    await this.ledger.add(`stock-${item}`, 'freed');
    return { freed: item };
  }
}
