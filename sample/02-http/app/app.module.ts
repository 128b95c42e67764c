/** The application: routes under locks, whose names come from what they are called with. */
import { Module } from '@nestjs/common';
import { K8sLockModule } from 'nestjs-k8s-lock';
import { LedgerClient } from './ledger.client.js';
import { OrderController } from './order.controller.js';
import { ReminderController } from './reminder.controller.js';
import { StockController } from './stock.controller.js';

@Module({
  imports: [
    K8sLockModule.forRoot({
      // Lease names start with this. One prefix per environment, the same in all its replicas.
      namePrefix: process.env.LOCK_PREFIX,
      // Shown to others as the holder of a lock, so that a person knows whom to look at.
      clientId: process.env.POD_NAME,
      // The names of orders come and go: without this, each would leave a Lease behind. It needs the
      // right to delete Leases.
      deleteOnRelease: true,
      // No locks, no start: a wrong Role fails the rollout instead of a customer's request.
      verifyAtStartup: 'require',
    }),
  ],
  controllers: [OrderController, ReminderController, StockController],
  providers: [LedgerClient],
})
export class AppModule {}
