/** The application: a scheduler and two jobs. */
import { Module } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { K8sLockModule } from 'nestjs-k8s-lock';
import { StatementJob } from './statement.job.js';
import { StatementService } from './statement.service.js';

@Module({
  imports: [
    ScheduleModule.forRoot(),
    K8sLockModule.forRoot({
      // Shown to others as the holder of a lock, so that a person knows whom to look at.
      clientId: process.env.POD_NAME,
    }),
  ],
  providers: [StatementJob, StatementService],
})
export class AppModule {}
