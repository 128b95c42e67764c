import {
  Controller,
  Delete,
  Param,
  Post,
  UseInterceptors,
  type ExecutionContext,
} from '@nestjs/common';
import { LeaseLockInterceptor } from 'nestjs-k8s-lock';
import { LedgerService } from './ledger.service.js';

interface ItemRequest {
  readonly params: { readonly item: string };
}

/** An interceptor knows the request, and not the arguments of the method. */
const ofItem = (context: ExecutionContext): string =>
  `stock-${context.switchToHttp().getRequest<ItemRequest>().params.item}`;

/** All routes of an item are under one lock. */
@Controller('stock/:item')
@UseInterceptors(LeaseLockInterceptor(ofItem, { waitTimeout: 5_000 }))
export class StockController {
  constructor(private readonly ledger: LedgerService) {}

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
