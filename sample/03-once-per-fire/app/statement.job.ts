/** The same job twice: as it comes, and with its fires left unclaimed. */
import { Injectable } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { WithLeaseLock } from 'nestjs-k8s-lock';
import { StatementService } from './statement.service.js';

@Injectable()
export class StatementJob {
  constructor(private readonly statements: StatementService) {}

  /** Each planned second is claimed with the lock: one replica runs it, however late the others are. */
  @Cron('* * * * * *')
  @WithLeaseLock('statements')
  async sendOnce(): Promise<void> {
    await this.statements.send('once-per-fire');
  }

  /** Only the lock: a replica whose clock is late comes when it is free again, and runs the fire once more. */
  @Cron('* * * * * *')
  @WithLeaseLock('statements-unclaimed', { oncePerFire: false })
  async sendUnclaimed(): Promise<void> {
    await this.statements.send('lock-only');
  }
}
