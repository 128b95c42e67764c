import { Module } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { K8sLockModule } from 'nestjs-k8s-lock';
import { RatesJob } from './rates.job.js';
import { StatementJob } from './statement.job.js';

@Module({
  imports: [
    ScheduleModule.forRoot(),
    K8sLockModule.forRoot({
      // Put before the name of each Lease: one prefix for each environment in a namespace.
      namePrefix: process.env.LOCK_PREFIX,
      // The application does not start without its rights: the rollout fails, not tonight's job.
      verifyAtStartup: 'require',
    }),
  ],
  providers: [RatesJob, StatementJob],
})
export class AppModule {}
