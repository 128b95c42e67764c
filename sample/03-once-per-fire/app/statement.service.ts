/** The work that must not be done twice for one fire. It takes far less time than the clocks differ. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';

export type Job = 'once-per-fire' | 'lock-only';

@Injectable()
export class StatementService {
  async send(_job: Job): Promise<void> {
    await sleep(20); // stands for the mail server
  }
}
