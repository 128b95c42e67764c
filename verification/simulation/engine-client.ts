/** A process with the real engine in it, from its start to its shutdown or crash. */
import type { LeaseKey } from '../../lib/kube/lease-store.js';
import {
  resolveLockOptions,
  type LockOptions,
} from '../../lib/k8s-lock.options.js';
import { LockBackendError, type LockReference } from '../../lib/lock.errors.js';
import { isLine } from '../../lib/lock/lease-name.js';
import { LockEngine } from '../../lib/lock/lock-engine.js';
import { CROWDED, lineOf, MOST_TICKETS } from '../../lib/lock/record/line.js';
import type { Author } from './api-model.js';
import { Caller } from './caller.js';
import { Candidate } from './candidate.js';
import { Job } from './job.js';
import type { Machine } from './machine.js';
import type { Random } from './random.js';
import type { ClientPlan } from './scenario.js';
import { SimulatedStore } from './simulated-store.js';
import { planAnyCall, planPlainCall, type CallPlan } from './call-plan.js';
import type { World } from './world.js';

/** Promises that are awaited one by one from the arrival of an answer to the caller who has acquired a lock. */
const LONGEST_TURN = 20;

export class EngineClient {
  /** It shuts down, or has. */
  isClosing = false;
  /** True time at which it began to. */
  closesAt = Infinity;
  private readonly engine: LockEngine;
  private readonly store: SimulatedStore;
  private readonly caller: Caller;
  private readonly job: Job | undefined;
  private readonly candidate: Candidate | undefined;
  /** Whether it has reported that it may not patch Leases. */
  private hasNamedPatch = false;
  /** Callers that are still busy. */
  private busy = 0;

  constructor(
    private readonly world: World,
    readonly machine: Machine,
    /** Its client id: another one after each restart. */
    readonly id: string,
    readonly plan: ClientPlan,
    private readonly random: Random,
  ) {
    const author: Author & { machine: Machine } = {
      name: id,
      kind: 'engine',
      machine,
    };
    this.store = new SimulatedStore(world, author, plan.requestTimeout);
    this.engine = new LockEngine(
      {
        store: this.store,
        clock: machine.clock,
        clientId: id,
        requestTimeout: plan.requestTimeout,
        emit: (event) => {
          if (event.type === 'backend-error') {
            this.hasNamedPatch ||= event.error.explanation.includes(
              'Grant these credentials the verb "patch"',
            );
            world.timeline.add(
              machine.name,
              () => `${event.operation} failed: ${event.error.reason}`,
            );
          }
        },
      },
      plan.hasSession
        ? resolveLockOptions(world.scenario.lockOptions)
        : undefined,
    );
    this.store.onEnrolment = (key) => this.checkEnrolment(key);
    this.caller = new Caller(world, machine, this.engine, random);
    const { job } = world.scenario;
    this.job =
      job &&
      new Job(
        world,
        machine,
        this.engine,
        this.caller,
        random.fork('job'),
        job,
      );
    const { election, lockOptions } = world.scenario;
    this.candidate = election
      ? new Candidate(
          world,
          machine,
          this.engine,
          random.fork('election'),
          election,
          lockOptions,
        )
      : undefined;
  }

  /** Whether it leads, and says so. */
  get leads(): boolean {
    return this.candidate?.leads === true;
  }

  /** Whether who follows its leaderships knows of the present one, or that there is none. */
  get hasSaidWhetherItLeads(): boolean {
    return this.candidate?.hasSaidSo !== false;
  }

  /** The holder identities under which it holds a lock that no caller has. */
  get strays(): string[] {
    return Array.from(this.engine['holders'])
      .filter(
        ({ isReleased, lock, holderIdentity, claimed }) =>
          !isReleased &&
          claimed === undefined &&
          !isLine(lock.leaseName) &&
          this.world.holdings.get(holderIdentity) === undefined,
      )
      .map(({ holderIdentity }) => holderIdentity);
  }

  get isIdle(): boolean {
    return this.busy === 0 && !this.caller.isLending;
  }

  /** @param until the true time until which its job is called */
  start(until: number): void {
    const { locks, job } = this.world.scenario;
    if (this.plan.observes) {
      for (const lock of locks) {
        this.engine.observe(lock);
      }
    }
    if (job) {
      this.engine.observe(job.lock);
    }
    // As in an application: a fire that comes while it starts is the scheduler's or the one that is made up for.
    this.runJob(until);
    if (job?.catchUp) {
      void this.occupied(() => this.job!.catchUp());
    }
    this.candidate?.start();
    for (let i = 0; i < this.plan.callers; i += 1) {
      void this.occupied(() => this.callAgainAndAgain());
    }
  }

  /** Calls the job at its planned times, until this true time. */
  runJob(until: number): void {
    void this.job?.callUntil(until, (call) => void this.occupied(call));
  }

  /** Acquires each lock once more and gives it back, as long as that takes; of a semaphore more permits than there are. */
  acquireEach(): Promise<void> {
    const { lockOptions } = this.world.scenario;
    const { permits = 0 } = this.plan;
    const acquireEach = async (): Promise<void> => {
      for (const lock of this.wanted) {
        const plan = this.asSemaphore(planPlainCall(lock, lockOptions));
        // oxlint-disable-next-line no-await-in-loop -- one lock after the other
        this.mustHaveAcquired(lock, await this.caller.fulfil(plan));
      }
    };
    return this.occupied(async () => {
      await Promise.all(Array.from({ length: permits + 1 }, acquireEach));
    });
  }

  /** Has all permits of each semaphore at one time. */
  acquireAllPermits(): Promise<void> {
    const { lockOptions } = this.world.scenario;
    const { permits = 1 } = this.plan;
    return this.occupied(async () => {
      for (const lock of this.wanted) {
        const plan = this.asSemaphore(planPlainCall(lock, lockOptions));
        // oxlint-disable-next-line no-await-in-loop -- one semaphore after the other
        this.mustHaveAcquired(lock, await this.caller.fill(plan, permits));
      }
    });
  }

  private mustHaveAcquired(lock: LockReference, isAcquired: boolean): void {
    if (!isAcquired) {
      this.world.findings.add(
        'never-acquired',
        `${this.id} was refused ${lock.leaseName} though nothing is wrong any more`,
      );
    }
  }

  /** Wants every lock and does not wait for the outcome: for a shutdown in the middle of it. */
  askForEach(options: LockOptions): void {
    for (const lock of this.wanted) {
      void this.caller.fulfil(this.asSemaphore(planPlainCall(lock, options)));
    }
  }

  private get wanted(): readonly LockReference[] {
    const { locks, contended } = this.world.scenario;
    return this.plan.permits === undefined ? locks : contended;
  }

  private asSemaphore(plan: CallPlan): CallPlan {
    const { permits } = this.plan;
    return permits === undefined
      ? plan
      : { ...plan, options: { ...plan.options, permits } };
  }

  /** Its callers want nothing any more. */
  loseInterest(): Promise<void> {
    return this.occupied(async () => {
      // A process that is paused gets to know of it later.
      await this.machine.sleep(0);
      this.caller.loseInterest();
    });
  }

  forceRelease(lock: LockReference): Promise<void> {
    return this.occupied(async () => {
      await this.unlessRefused(this.engine.forceRelease(lock));
    });
  }

  /**
   * The application closes: its locks first, and at some later time everything else. Afterwards nothing of
   * the engine may be left.
   */
  async shutdown(timeout: number): Promise<void> {
    const { machine, world, random } = this;
    this.isClosing = true;
    world.statistics.count('shutdowns');
    await this.someMoment();
    world.timeline.add(machine.name, () => 'shuts down');
    this.closesAt = machine.now;
    this.engine.beginShutdown(timeout);
    world.checker.closing(machine);
    if (random.chance(0.5)) {
      // Schedulers, and HTTP, stop later than locks do.
      await machine.sleep(random.magnitude(1, 2 * timeout + 100));
    }
    this.job?.stop();
    await this.engine.shutdown(timeout);
    this.candidate?.close();
    await machine.sleep(1);
    this.findLeaks();
    this.findUntold();
    world.timeline.add(machine.name, () => 'has shut down');
  }

  crash(): void {
    this.machine.kill();
    this.world.holdings.died(this.machine);
    this.world.timeline.add(this.machine.name, () => 'crashes');
  }

  private async callAgainAndAgain(): Promise<void> {
    const { random, world, machine } = this;
    const { locks, leaseDuration } = world.scenario;
    while (!this.isClosing && !world.isHealed) {
      // oxlint-disable no-await-in-loop -- a caller does one thing at a time
      await machine.sleep(random.magnitude(20, leaseDuration));
      if (random.chance(0.05)) {
        await this.unlessRefused(this.engine.inspect(random.pick(locks)));
      }
      if (!this.isClosing && !world.isHealed) {
        await this.caller.fulfil(
          this.asSemaphore(planAnyCall(random, world.scenario)),
        );
      }
      // oxlint-enable no-await-in-loop
    }
  }

  /**
   * When the process gets to know that it is to close: now, or later, if it is paused; as it begins a fire;
   * or as an answer arrives.
   */
  private async someMoment(): Promise<void> {
    const { machine, random, plan, world } = this;
    if (random.chance(0.4)) {
      await machine.sleep(0);
      return;
    }
    if (random.chance(0.5)) {
      const wait = 3 * world.scenario.leaseDuration;
      await Promise.race([machine.sleep(wait), this.store.nextBeginning()]);
      await machine.sleep(random.magnitude(0.1, 2 * plan.requestTimeout));
      return;
    }
    const wait = random.magnitude(1, plan.requestTimeout);
    await Promise.race([machine.sleep(wait), this.store.nextAnswer()]);
    // Before, while, or after what waits for the answer has dealt with it.
    for (let turns = random.whole(0, LONGEST_TURN); turns > 0; turns -= 1) {
      // oxlint-disable-next-line no-await-in-loop
      await Promise.resolve();
    }
  }

  private async occupied(work: () => Promise<void>): Promise<void> {
    this.busy += 1;
    await work();
    this.busy -= 1;
  }

  private async unlessRefused(request: Promise<unknown>): Promise<void> {
    try {
      await request;
    } catch (error) {
      if (!(error instanceof LockBackendError)) {
        throw error;
      }
    }
  }

  /** By the record as this process knows it: others may have enrolled since. */
  private checkEnrolment({ name }: LeaseKey): void {
    const { findings, statistics } = this.world;
    const local = [...this.engine['locals'].values()].find(
      ({ key }) => key.name === name,
    );
    const { lease } = local?.observed ?? {};
    const tickets = lease ? lineOf(lease).length : 0;
    if (!local || tickets < CROWDED) {
      return;
    }
    if (tickets < MOST_TICKETS && local.place['kept'] !== undefined) {
      statistics.count('places in line after a wait outside');
    } else {
      findings.add(
        'crowded-line',
        `${this.id} enrols behind ${tickets} in the line of ${name}`,
      );
    }
  }

  private findUntold(): void {
    if (this.store.wasRefusedPatch && !this.hasNamedPatch) {
      this.world.findings.add(
        'refusal-untold',
        `${this.id} may not patch Leases, and has not reported it`,
      );
    }
  }

  private findLeaks(): void {
    const { name, pendingTimers } = this.machine;
    const { openWatches } = this.store;
    const inUse = [...this.engine['locals']].filter(
      ([, local]) => !local.isIdle,
    );
    if (pendingTimers + openWatches + inUse.length > 0) {
      this.world.findings.add(
        'leak',
        `${name}: ${pendingTimers} timers, ${openWatches} watches and ${inUse.length} Leases are in use after shutdown`,
      );
    }
  }
}
