import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { WithLeaseLock } from 'nestjs-k8s-lock';

/** Exchange rates may be fetched twice, but not by two pods at the same time. */
@Injectable()
export class RatesJob {
  private readonly logger = new Logger(RatesJob.name);

  /** Under the lock alone, a pod whose clock is late finds the lock free again, and runs the same fire once more. */
  @Cron('* * * * * *', { name: 'rates' })
  @WithLeaseLock('rates', { oncePerFire: false })
  async refresh(): Promise<void> {
    await this.fetchRates();
  }

  async fetchRates(): Promise<void> {
    await sleep(20); // stands for the request
    this.logger.log('Fetched the rates');
  }
}
