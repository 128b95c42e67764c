import { Module } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { K8sLockModule } from 'nestjs-k8s-lock';
import { AppController } from './app.controller';
import { AppService } from './app.service';

export const locks = K8sLockModule.forRoot({ namespace: 'jobs' });

@Module({
  imports: [ScheduleModule.forRoot(), locks],
  controllers: [AppController],
  providers: [AppService],
})
export class AppModule {}
