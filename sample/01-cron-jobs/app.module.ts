import { Module } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { K8sLockModule } from 'nestjs-k8s-lock';
import { InvoiceController } from './invoice.controller.js';
import { InvoiceService } from './invoice.service.js';

@Module({
  imports: [
    ScheduleModule.forRoot(),
    K8sLockModule.forRoot({
      // How long the lock of a pod that has died stays taken. The default is 15 s.
      leaseDuration: 5_000,
      // Put before the name of each Lease: one prefix for each environment in a namespace.
      namePrefix: process.env.LOCK_PREFIX,
      // The application does not start without its rights: the rollout fails, not tonight's job.
      verifyAtStartup: 'require',
    }),
  ],
  controllers: [InvoiceController],
  providers: [InvoiceService],
})
export class AppModule {}
