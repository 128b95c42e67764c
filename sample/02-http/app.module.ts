import { Module } from '@nestjs/common';
import { K8sLockModule } from 'nestjs-k8s-lock';
import { LedgerService } from './ledger.service.js';
import { OrderController } from './order.controller.js';
import { StockController } from './stock.controller.js';

@Module({
  imports: [
    K8sLockModule.forRoot({
      // Put before the name of each Lease: one prefix for each environment in a namespace.
      namePrefix: process.env.LOCK_PREFIX,
      // Orders come and go, and each would leave a Lease behind. This needs the right to delete Leases.
      deleteOnRelease: true,
      // The application does not start without its rights: the rollout fails, not a customer's request.
      verifyAtStartup: 'require',
    }),
  ],
  controllers: [OrderController, StockController],
  providers: [LedgerService],
})
export class AppModule {}
