/** One run: what a seed stands for, from the first event to the last check. */
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { planOfInterval } from '../../lib/schedule/planned-fires.js';
import type { Backup } from './api-model.js';
import { Participants, type Kept } from './participants.js';
import type { Finding, Findings } from './findings.js';
import { wallTimeOf } from './machine.js';
import { Random } from './random.js';
import { nameOfRun, scenarioOf, type Kind } from './scenario-kinds.js';
import type { Counts } from './statistics.js';
import { unlimited } from './call-plan.js';
import { World } from './world.js';

export interface Outcome {
  readonly kind: Kind;
  readonly seed: number;
  readonly findings: readonly Finding[];
  /** Two runs of a seed that differ anywhere differ in it. */
  readonly digest: number;
  /** Milliseconds of virtual time. */
  readonly duration: number;
  readonly steps: number;
  readonly statistics: Counts;
  readonly timeline: readonly string[];
}

/** Milliseconds of true time within which everybody must be served once nothing is wrong any more. */
const TIMEOUT = 300_000;
/** Events of a run; a usual one has a thousand. */
const MOST_STEPS = 100_000;
const SHUTDOWN_TIMEOUT = 10_000;
/** Milliseconds for which nobody may lead, once nothing is wrong any more. */
const LONGEST_VACANCY = 60_000;
/** Milliseconds within which another one leads when the leader shuts down, and nothing is wrong. */
const LONGEST_SUCCESSION = 500;
/** Milliseconds for which a leader leaves the lock to clients that do not know the line, and others come by their turn. */
const COURTESY = 5_000;
/** Milliseconds that all of the dead in line together cost the others. */
const COST_OF_THE_DEAD = 5_000;

/** Whoever is being simulated: promises that nobody has handled are reported per process. */
let current: Findings | undefined;

/** Reports unhandled rejections as findings of the run that they happen in. */
export function catchUnhandledRejections(): void {
  process.on('unhandledRejection', (reason) => {
    const text = reason instanceof Error ? reason.stack : String(reason);
    current?.add('unhandled-rejection', String(text));
  });
}

export async function simulate(
  seed: number,
  {
    kind = 'locks',
    withTimeline = false,
  }: { kind?: Kind; withTimeline?: boolean } = {},
): Promise<Outcome> {
  drawIdentities(new Random(`${nameOfRun(kind, seed)}/identities`));
  const simulation = new Simulation(kind, seed, withTimeline);
  current = simulation.world.findings;
  try {
    await simulation.run();
  } catch (error) {
    if (!(error instanceof Found)) {
      const text = error instanceof Error ? error.stack : String(error);
      simulation.world.findings.add('undocumented-error', String(text));
    }
  }
  return simulation.outcome;
}

/** The identities of a run come from its seed too, since they decide between equal places in line. */
function drawIdentities(random: Random): void {
  const hex = (digits: number): string =>
    Array.from({ length: digits }, () =>
      Math.floor(random.next() * 16).toString(16),
    ).join('');
  crypto.randomUUID = () =>
    `${hex(8)}-${hex(4)}-${hex(4)}-${hex(4)}-${hex(12)}`;
  syncBuiltinESMExports();
}

/** Something was found: what comes after it means nothing. */
class Found extends Error {}

class Simulation {
  readonly world: World;
  private readonly random: Random;
  private readonly participants: Participants;
  private backup: Backup | undefined;

  constructor(
    private readonly kind: Kind,
    private readonly seed: number,
    withTimeline: boolean,
  ) {
    this.random = new Random(nameOfRun(kind, seed));
    const scenario = scenarioOf(kind, this.random.fork('scenario'));
    this.world = new World(scenario, this.random, withTimeline);
    this.world.timeline.add(
      'seed',
      () => `${seed}: ${JSON.stringify(scenario, null, 2)}`,
    );
    // The labels of forks are part of each seed.
    this.participants = new Participants(this.world, this.random.fork('cast'));
  }

  get outcome(): Outcome {
    const { scheduler, findings, statistics, timeline } = this.world;
    return {
      kind: this.kind,
      seed: this.seed,
      findings: findings.all,
      digest: scheduler.digest,
      duration: scheduler.now,
      steps: scheduler.steps,
      statistics: statistics.counts,
      timeline: timeline.lines,
    };
  }

  async run(): Promise<void> {
    const { participants, world } = this;
    participants.begin();
    this.backUp();
    await this.until(world.scenario.faultsEnd, () => false);
    participants.heal();
    world.heal();
    if (world.scenario.election) {
      await this.expectLeaders();
      await this.closeAll();
      return;
    }
    await this.expectQuiet('to be done with what they had begun');
    this.expectFiresInPartition();
    await this.expectGivenBack();
    for (const client of participants.running) {
      void client.acquireEach();
    }
    await this.expectQuiet('to acquire each lock once more');
    await this.expectFires();
    await this.expectRecovery();
    await this.expectAllPermits();
    await this.closeAll();
  }

  /** Stops at the first finding, and for good. */
  private async until(time: number, isDone: () => boolean): Promise<boolean> {
    const { participants, world } = this;
    const { scheduler, findings, checker } = world;
    const result = await scheduler.run(
      time,
      () => !findings.isEmpty || scheduler.steps > MOST_STEPS || isDone(),
      () => {
        checker.check();
        participants.checkStrays();
      },
    );
    if (scheduler.steps > MOST_STEPS) {
      findings.add('busy-loop', `more than ${MOST_STEPS} events`);
    }
    if (!findings.isEmpty) {
      throw new Found();
    }
    return result;
  }

  private inTime(isDone: () => boolean): Promise<boolean> {
    return this.until(this.world.scheduler.now + TIMEOUT, isDone);
  }

  private async expectQuiet(what: string): Promise<void> {
    const { participants, world } = this;
    if (!(await this.inTime(() => participants.isQuiet))) {
      const busy = participants.running
        .filter(({ isIdle }) => !isIdle)
        .map(({ id }) => id);
      world.findings.add(
        'never-acquired',
        `${TIMEOUT} ms were not enough for ${busy.join(', ') || 'the others'} ${what}`,
      );
      throw new Found();
    }
  }

  /**
   * A process that is cut off does not keep a fire from being run. That it runs it when it is back may be
   * in the way of the next one.
   */
  private expectFiresInPartition(): void {
    const { scenario, fires, findings } = this.world;
    const { job, partition, faultsEnd, leaseDuration } = scenario;
    if (!partition || !job) {
      return;
    }
    const isOver = wallTimeOf(partition.until) + leaseDuration;
    const plan = planOfInterval(job.period);
    const last = wallTimeOf(faultsEnd - job.period);
    let at = plan.next(wallTimeOf(job.period / 2));
    for (; at < last; at = plan.next(at)) {
      const isInTheWay = at > partition.fire && at < isOver;
      if (!isInTheWay && !fires.isOvertaken(at)) {
        fires.expectRun(at);
      }
    }
    if (!findings.isEmpty) {
      throw new Found();
    }
  }

  /** What does not expire is given back, however often that has failed before. */
  private async expectGivenBack(): Promise<void> {
    const { participants } = this;
    const kept = (): Kept[] =>
      participants
        .keptBy(participants.running)
        .filter(({ expires }) => !expires);
    if (!(await this.inTime(() => kept().length === 0))) {
      this.report(kept());
    }
  }

  /** Each planned fire of the job is run, also when one client goes in the middle of it. */
  private async expectFires(): Promise<void> {
    const { participants, random, world } = this;
    const { job } = world.scenario;
    if (job === undefined || participants.running.length === 0) {
      return;
    }
    const { period } = job;
    if (job.options.minHold || random.chance(0.7)) {
      await this.until(world.settlesAt, () => false);
    }
    const begin = world.scheduler.now;
    const someGo = random.chance(0.6);
    const { leaseDuration } = world.scenario;
    const end =
      begin +
      (someGo
        ? Math.max(6 * period, 2 * period + 4 * leaseDuration)
        : 4 * period);
    participants.runJob(job, end, someGo);
    await this.until(end, () => false);
    await this.expectQuiet('to end the runs of the job');
    if (!job.clocksAgree) {
      return;
    }
    world.fires.expectRunAgain(wallTimeOf(begin));
    if (job.schedule === 'cron') {
      const plan = planOfInterval(period);
      const last = wallTimeOf(end - period / 2);
      let at = plan.next(wallTimeOf(begin + period / 2));
      for (; at < last; at = plan.next(at)) {
        if (!participants.isExcused(at, job)) {
          world.fires.expectRun(at);
        }
      }
      const madeUpFor = participants.madeUpFor(job);
      if (
        madeUpFor !== undefined &&
        madeUpFor > wallTimeOf(begin + period / 2) &&
        !world.fires.wasBegun(madeUpFor)
      ) {
        world.fires.expectRun(madeUpFor);
      }
    }
  }

  /** Whoever is alone has all permits at one time. */
  private async expectAllPermits(): Promise<void> {
    const { participants, world } = this;
    if (world.scenario.permits === undefined) {
      return;
    }
    for (const client of participants.running) {
      void client.acquireAllPermits();
      // oxlint-disable-next-line no-await-in-loop -- one client after the other
      await this.expectQuiet('to have all permits at one time');
    }
  }

  /** Somebody leads soon, and then whoever is next when the leader shuts down, to the last one. */
  private async expectLeaders(): Promise<void> {
    const { participants, random, world } = this;
    const { scheduler, scenario, statistics } = world;
    if (participants.running.length > 0) {
      await this.expectLeader(scheduler.now + LONGEST_VACANCY);
    }
    await this.until(world.settlesAt + scenario.leaseDuration, () => false);
    const { clientGoPeers, k8slockPeers } = scenario;
    const longest =
      LONGEST_SUCCESSION + (clientGoPeers + k8slockPeers > 0 ? COURTESY : 0);
    // Places in line of the dead cost one grant.
    let costOfDead = COST_OF_THE_DEAD;
    while (participants.running.length > 0) {
      // oxlint-disable no-await-in-loop -- one leader after the other
      await this.expectLeader(scheduler.now);
      if (
        !participants.running.every((client) => client.hasSaidWhetherItLeads)
      ) {
        world.findings.add('never-led', 'leader$ tells something else');
      }
      const leader = participants.leader!;
      participants.shutDown(leader, SHUTDOWN_TIMEOUT);
      await this.inTime(() => leader.closesAt <= scheduler.now);
      if (participants.running.length > 0) {
        statistics.count('successions');
        const soon = scheduler.now + longest;
        await this.expectLeader(soon + costOfDead);
        costOfDead = scheduler.now > soon ? 0 : costOfDead;
      }
      const pause = random.between(0, 2 * scenario.leaseDuration);
      await this.until(scheduler.now + pause, () => false);
      // oxlint-enable no-await-in-loop
    }
  }

  private async expectLeader(by: number): Promise<void> {
    const { participants, world } = this;
    if (!(await this.until(by, () => participants.leader !== undefined))) {
      const running = participants.running.map(({ id }) => id).join(', ');
      world.findings.add(
        'never-led',
        `of ${running} nobody leads, though nothing is in the way`,
      );
      throw new Found();
    }
  }

  private backUp(): void {
    const { scheduler, scenario, api } = this.world;
    if (scenario.backupAt !== undefined) {
      scheduler.at(scenario.backupAt, () => {
        this.backup = api.backUp();
      });
    }
  }

  /** Etcd is restored from a backup; the Leases may have been deleted before that. */
  private async expectRecovery(): Promise<void> {
    const { participants, random, world, backup } = this;
    if (backup === undefined) {
      return;
    }
    if (random.chance(0.5)) {
      participants.deleteEach();
    }
    await this.until(world.scheduler.now + 1_000, () => false);
    participants.restore(backup);
    for (const client of participants.running) {
      void client.acquireEach();
    }
    await this.expectQuiet('to acquire each lock after a restore');
  }

  /** Some in the middle of acquiring a lock that does not expire. */
  private async closeAll(): Promise<void> {
    const { participants, random, world } = this;
    const closing = participants.running;
    for (const client of closing) {
      if (random.chance(0.5)) {
        client.askForEach(unlimited(world.scenario.lockOptions));
      }
    }
    const someTime = world.scheduler.now + random.magnitude(0.1, 100);
    await this.until(someTime, () => false);
    participants.shutDownAll(SHUTDOWN_TIMEOUT);
    await this.expectQuiet('to shut down');
    this.report(participants.keptBy(closing));
  }

  private report(kept: readonly Kept[]): void {
    const { findings, timeline } = this.world;
    for (const { lock, holder } of kept) {
      findings.add(
        'left-taken',
        `${lock.leaseName} names ${timeline.nameOf(holder)}, which has ended`,
      );
    }
  }
}
