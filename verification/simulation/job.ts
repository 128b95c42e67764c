/** A scheduled method of a process: it is called for each planned fire, by the process's own clock, and runs once per fire. */
import { findMissedFire } from '../../lib/schedule/missed-fire.js';
import {
  fireAt,
  planOfInterval,
  type Fire,
  type Plan,
} from '../../lib/schedule/planned-fires.js';
import { LockBackendError } from '../../lib/lock.errors.js';
import type { LockEngine } from '../../lib/lock/lock-engine.js';
import type { Caller } from './caller.js';
import type { JobPlan } from './job-plan.js';
import type { Machine } from './machine.js';
import type { Random } from './random.js';
import { planFireCall } from './call-plan.js';
import type { World } from './world.js';

/** How often a call comes late: the process is busy. */
const LATE = 0.2;

export class Job {
  private readonly plan: Plan;
  private isStopped = false;

  constructor(
    private readonly world: World,
    private readonly machine: Machine,
    private readonly engine: LockEngine,
    private readonly caller: Caller,
    private readonly random: Random,
    private readonly options: JobPlan,
  ) {
    this.plan = planOfInterval(options.period);
  }

  /** From now on it is not called any more. */
  stop(): void {
    this.isStopped = true;
  }

  /** As `catchUp` does when its process has started: looks for the latest fire, and runs it if it was missed. */
  async catchUp(): Promise<void> {
    const { plan, machine, world, engine } = this;
    const { lock, retry } = this.options;
    const closing = engine.closingSignal;
    try {
      const fire = await findMissedFire({
        plan,
        retry,
        clock: machine.clock,
        closing,
        read: () => engine.read(lock),
        onRetry: () => undefined,
      });
      if (fire) {
        world.statistics.count('fires made up for');
        await this.callFor(fire);
      }
    } catch (error) {
      if (!(error instanceof LockBackendError) && error !== closing.reason) {
        throw error;
      }
    }
  }

  /** Until this true time, hands `run` each call when it is due. */
  async callUntil(
    end: number,
    run: (call: () => Promise<void>) => void,
  ): Promise<void> {
    const { machine, random } = this;
    const { period, schedule } = this.options;
    if (schedule === 'interval') {
      await machine.sleep(random.between(0, period));
    }
    for (;;) {
      if (this.isBusyBefore) {
        run(() => this.workUntilDue());
      }
      // oxlint-disable no-await-in-loop -- one call after the other
      await (schedule === 'cron' ? this.nextTime() : machine.sleep(period));
      if (random.chance(LATE)) {
        await machine.sleep(random.magnitude(1, this.longestDelay));
      }
      // oxlint-enable no-await-in-loop
      if (this.isStopped || machine.now >= end) {
        return;
      }
      run(() => this.call());
    }
  }

  /** Like `cron`, it never comes before the clock has reached the time, even where that was set back meanwhile. */
  private async nextTime(): Promise<void> {
    const { machine } = this;
    const due = this.plan.next(machine.wallMilliseconds());
    for (;;) {
      const left = due - machine.wallMilliseconds();
      if (left <= 0) {
        return;
      }
      // oxlint-disable-next-line no-await-in-loop -- a timer may be early, by the wall clock
      await machine.sleep(left);
    }
  }

  /** Whether the process has the lock for something else until the next call is about to come. */
  private get isBusyBefore(): boolean {
    const { isBrief, schedule } = this.options;
    return (
      isBrief &&
      schedule === 'cron' &&
      !this.world.isCalm &&
      this.random.chance(0.5)
    );
  }

  private async workUntilDue(): Promise<void> {
    const { machine, random, caller } = this;
    const { lock, options, period } = this.options;
    const due = this.plan.next(machine.wallMilliseconds());
    await machine.sleep(random.between(0, period / 2));
    const left = due - machine.wallMilliseconds();
    if (left > 0 && !this.isStopped) {
      await caller.fulfil({
        lock,
        options: { ...options, waitTimeout: left },
        mode: 'wait',
        work: left,
        endsAt:
          machine.localTime() + (left - random.between(0, 15)) * machine.rate,
      });
    }
  }

  /** Milliseconds; while nothing is wrong, calls are late by so little that the next fire finds the lock free. */
  private get longestDelay(): number {
    const { period } = this.options;
    return this.world.isCalm ? period / 16 : period * 0.9;
  }

  private async call(): Promise<void> {
    const fire = fireAt(this.plan, this.machine.wallMilliseconds());
    if (fire !== undefined) {
      await this.callFor(fire);
    }
  }

  private async callFor(fire: Fire): Promise<void> {
    const { options, world, random } = this;
    const claim = {
      ...fire,
      retry: options.retry,
      ownIdentities: new Set<string>(),
    };
    await this.caller.runFire(
      planFireCall(random, claim, options, world.isCalm),
    );
  }
}
