/** The application: a scheduler, a controller, and the locks that keep its replicas apart. */
import { Module } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { K8sLockModule } from 'nestjs-k8s-lock';
import { InvoiceController } from './invoice.controller.js';
import { InvoiceJob } from './invoice.job.js';
import { InvoiceService } from './invoice.service.js';

@Module({
  imports: [
    ScheduleModule.forRoot(),
    K8sLockModule.forRoot({
      // Where the cluster is needs no option: the pod's own configuration, else KUBECONFIG.
      // A replica that dies keeps the others out for this long. The default is 15 s.
      leaseDuration: 3_000,
      // Lease names start with this. One prefix per environment, the same in all its replicas.
      namePrefix: process.env.LOCK_PREFIX,
      // Shown to others as the holder of a lock, so that a person knows whom to look at.
      clientId: process.env.POD_NAME,
      // No locks, no start: a wrong Role fails the rollout instead of tonight's job.
      verifyAtStartup: 'require',
    }),
  ],
  controllers: [InvoiceController],
  providers: [InvoiceJob, InvoiceService],
})
export class AppModule {}
