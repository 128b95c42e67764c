import { Injectable } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import {
  HeldLock,
  LeaseLock,
  LockService,
  WithLeaseLock,
} from 'nestjs-k8s-lock';

@Injectable()
export class AppService {
  constructor(private readonly locks: LockService) {}

  @Cron('0 3 * * *')
  @WithLeaseLock('nightly-report')
  async nightly(@HeldLock() lock?: LeaseLock): Promise<string | undefined> {
    return lock?.name;
  }

  @WithLeaseLock((who: string) => `hello-${who}`)
  async getHello(who: string): Promise<string> {
    return `Hello ${who}!`;
  }

  byHand(): Promise<boolean> {
    return this.locks.withLock('by-hand', (lock) => lock.isHeld);
  }
}
