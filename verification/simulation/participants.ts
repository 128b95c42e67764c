/** The participants of a run (clients, peers, people) and the faults that hit them. */
import { planOfInterval } from '../../lib/schedule/planned-fires.js';
import type { StoredLease } from '../../lib/kube/lease-store.js';
import type { LockReference } from '../../lib/lock.errors.js';
import type { Backup } from './api-model.js';
import { ClientGoPeer } from './client-go-peer.js';
import { EngineClient } from './engine-client.js';
import { K8slockPeer } from './k8slock-peer.js';
import { greatestOffsetOf, type JobPlan } from './job-plan.js';
import { Machine, type MachineOptions, wallTimeOf } from './machine.js';
import type { Peer } from './peer.js';
import type { Random } from './random.js';
import { CLOCK_RATES, type ClientPlan, type Mishap } from './scenario.js';
import { isSession } from './session-states.js';
import { ThirdParty } from './third-party.js';
import type { World } from './world.js';
import { expires, holderOf, isRetained } from './write-judge.js';

/** Milliseconds between the looks of whoever cleans up after the dead. */
const CLEANING = 2_000;
/** Milliseconds that it takes to make up for a fire, once its lock can be had. */
const CATCHING_UP = 600;
/** Milliseconds by which the wall clocks of peers are off, at most. */
const PEER_OFFSET = 5;

/** A lock whose record names a client. */
export interface Kept {
  readonly lock: LockReference;
  readonly holder: string;
  readonly expires: boolean;
}

export class Participants {
  /** By the name of their machine: those that were started last on it. */
  private readonly clients = new Map<string, EngineClient>();
  private readonly closing = new Set<EngineClient>();
  /** One went in the middle of a run, or all did (`isEmpty`), and others came in their place: in true time. */
  private change:
    { goneAt: number; comesAt: number; isEmpty: boolean } | undefined;
  private readonly peers: Peer[] = [];
  private readonly machines: Machine[] = [];
  private readonly thirdParty: ThirdParty;
  /** Takes locks away by force. */
  private readonly operator: EngineClient;
  private incarnations = 0;

  constructor(
    private readonly world: World,
    private readonly random: Random,
  ) {
    this.thirdParty = new ThirdParty(world.api);
    this.operator = this.boot({
      name: 'operator',
      rate: 1,
      wallOffset: 0,
      requestTimeout: 1_000,
      callers: 0,
      observes: false,
    });
    world.judge.allowForce(this.operator.id);
  }

  begin(): void {
    const { scenario, scheduler } = this.world;
    if (scenario.leasesExist) {
      for (const lock of scenario.locks) {
        this.thirdParty.create(lock);
      }
    }
    if (scenario.elected) {
      this.thirdParty.elect(scenario.elected);
    }
    for (const plan of scenario.clients) {
      this.startClient(plan);
    }
    this.startPeers();
    for (const mishap of scenario.mishaps) {
      scheduler.at(mishap.at, () => this.meet(mishap));
    }
    this.clean();
    this.touch();
  }

  /** Nothing goes wrong any more, which for some comes too late: they have given up. */
  heal(): void {
    const { habits } = this.world.scenario;
    for (const client of this.running) {
      if (this.random.chance((1 - habits.patient) / 2)) {
        void client.loseInterest();
      }
    }
    for (const machine of this.machines) {
      machine.endPauses();
    }
  }

  /**
   * Everybody calls the job at its planned times again, until this true time. `disturb`: one of them
   * goes in the middle of a run.
   */
  runJob(job: JobPlan, until: number, disturb: boolean): void {
    if (job.isClaimedAhead) {
      this.thirdParty.claimAhead(job.lock);
    }
    for (const client of this.running) {
      client.runJob(until);
    }
    if (disturb) {
      this.world.fires.onNextBegin(({ machine }) =>
        this.goDuringRun(machine, job, until),
      );
    }
  }

  /**
   * Whether the fire of this planned time may be missed: nobody was there, or somebody who had died held
   * the lock. Of the calls that come meanwhile, the first of each process waits for that to end, and
   * each of them has been judged when it was left out.
   */
  isExcused(
    at: number,
    { period, isFrequent, catchUp, options }: JobPlan,
  ): boolean {
    const { change, world } = this;
    const time = at - wallTimeOf(0);
    if (change === undefined || time <= change.goneAt - period / 2) {
      return false;
    }
    const { goneAt, comesAt, isEmpty } = change;
    if (isEmpty && time < comesAt + period / 4) {
      return true;
    }
    const { leaseDuration, watch } = world.scenario;
    // Who comes later, or can't watch, sees the record first when it has long been dead. To make up for a
    // fire, it waits until that has expired, which is in the way of the next one.
    const firstSeen =
      isFrequent || catchUp
        ? Math.max(goneAt, comesAt) + (watch.isForbidden ? 2 * period : 0)
        : goneAt;
    const isFree = firstSeen + leaseDuration / CLOCK_RATES.slowest;
    // Others see the rest of `minHold` in whole seconds, from when they see it first.
    const offset = options.minHold || isFrequent ? period / 2 : period / 4;
    return time < Math.max(isFree, comesAt) + offset && world.calls.wasMet(at);
  }

  /**
   * The latest fire that all have missed, if those who come make up for it before the next is due: they may
   * have to wait until a lock of the dead has expired. Undefined: there is none.
   */
  madeUpFor(job: JobPlan): number | undefined {
    const { catchUp, isFrequent, options, period } = job;
    const { change, world } = this;
    if (!catchUp || isFrequent || options.minHold || !change?.isEmpty) {
      return undefined;
    }
    const { leaseDuration } = world.scenario;
    const plan = planOfInterval(period);
    const started = wallTimeOf(change.comesAt);
    // By the clock that is farthest behind, and by the one farthest ahead.
    const offset = greatestOffsetOf(job);
    const at = plan.last(started - offset);
    const next = plan.next(started - offset) - offset;
    const isInTime =
      next - started > leaseDuration / CLOCK_RATES.slowest + CATCHING_UP;
    return isInTime ? at : undefined;
  }

  /** etcd is restored from the backup. The Leases that have been deleted since are there again. */
  restore(backup: Backup): void {
    const { api, scenario } = this.world;
    api.restore(backup);
    this.world.restored();
    // Who holds a lock that does not expire has ended long ago: people see to that.
    for (const lock of scenario.locks) {
      this.thirdParty.freeFrom(lock, () => true);
    }
    // What others had observed of a session before says nothing of the restored one: people delete them all.
    for (const session of api.list('default').filter(isSession)) {
      this.thirdParty.delete(referenceOf(session));
    }
  }

  deleteEach(): void {
    for (const lock of this.world.scenario.locks) {
      this.thirdParty.delete(lock);
    }
  }

  /** The clients that are neither dead nor shut down, nor about to be. */
  get running(): EngineClient[] {
    return [...this.clients.values()].filter(
      ({ machine, isClosing }) => !machine.isDead && !isClosing,
    );
  }

  /** Nobody does anything, and no request is under way. */
  get isQuiet(): boolean {
    return (
      this.world.network.underWay === 0 &&
      this.operator.isIdle &&
      [...this.closing].every(({ machine }) => machine.isDead) &&
      this.peers.every(({ isGone }) => isGone) &&
      this.running.every(({ isIdle }) => isIdle)
    );
  }

  /** The locks whose record names one of these clients as somebody who has not ended. */
  keptBy(clients: readonly EngineClient[]): Kept[] {
    const { scenario, api } = this.world;
    // Nobody looks at slots that were those of processes with more permits.
    const permits = Math.max(
      ...clients.map((client) => client.plan.permits ?? 1),
    );
    const locks = scenario.locks.filter(({ slot = 0 }) => slot < permits);
    return locks.flatMap((lock) => {
      const { namespace, leaseName: name } = lock;
      const lease = api.get({ namespace, name });
      const holder = holderOf(lease);
      return !isRetained(lease) &&
        clients.some(({ id }) => holder.startsWith(`${id}_`))
        ? [{ lock, holder, expires: expires(lease) }]
        : [];
    });
  }

  /** Shuts down everybody that is still running. */
  shutDownAll(timeout: number): void {
    for (const client of [...this.running, this.operator]) {
      this.shutDown(client, timeout);
    }
  }

  /** Who leads, as far as it knows. */
  get leader(): EngineClient | undefined {
    return this.running.find(({ leads }) => leads);
  }

  /** A lock is held by a caller, or by nobody: also one that is given back in the very moment of a shutdown. */
  checkStrays(): void {
    const { findings, timeline } = this.world;
    for (const { machine, strays, id } of this.clients.values()) {
      for (const holder of machine.isDead ? [] : strays) {
        findings.add(
          'held-for-nobody',
          `${id} holds a lock as ${timeline.nameOf(holder)}, which no caller has`,
        );
      }
    }
  }

  private boot(plan: ClientPlan): EngineClient {
    this.incarnations += 1;
    const id = `${plan.name}.${this.incarnations}`;
    const machine = this.machine(plan);
    return new EngineClient(
      this.world,
      machine,
      id,
      plan,
      this.random.fork(id),
    );
  }

  private machine(options: Omit<MachineOptions, 'pauses'>): Machine {
    const { scheduler, scenario, statistics, timeline } = this.world;
    const machine = new Machine(
      { ...options, pauses: scenario.pauses },
      scheduler,
      this.random.fork(`machine ${options.name} ${this.incarnations}`),
      (milliseconds) => {
        statistics.count('pauses');
        timeline.add(
          options.name,
          () => `is paused for ${milliseconds.toFixed(1)} ms`,
        );
      },
    );
    this.machines.push(machine);
    return machine;
  }

  /** @param until the true time until which its job is called */
  private startClient(
    plan: ClientPlan,
    until = this.world.scenario.faultsEnd,
  ): void {
    const client = this.boot(plan);
    this.clients.set(plan.name, client);
    this.world.timeline.add(plan.name, () => `starts as ${client.id}`);
    if (this.world.isHealed) {
      client.machine.endPauses();
    }
    client.start(until);
  }

  private startPeers(): void {
    const { world, random } = this;
    const { clientGoPeers, k8slockPeers, contended, leaseDuration } =
      world.scenario;
    const kinds = [
      ...Array.from({ length: clientGoPeers }, () => ClientGoPeer),
      ...Array.from({ length: k8slockPeers }, () => K8slockPeer),
    ];
    for (const [index, Kind] of kinds.entries()) {
      const name = `peer${index + 1}`;
      const machine = this.machine({
        name,
        rate: random.between(CLOCK_RATES.slowest, CLOCK_RATES.fastest),
        wallOffset: random.between(-PEER_OFFSET, PEER_OFFSET),
      });
      const peer = new Kind(world, machine, random.fork(name), {
        lock: random.pick(contended),
        leaseDuration,
        requestTimeout: leaseDuration,
      });
      this.peers.push(peer);
      void peer.run();
    }
  }

  private meet(mishap: Mishap): void {
    switch (mishap.kind) {
      case 'delete':
        this.thirdParty.delete(mishap.lock);
        return;
      case 'edit':
        this.thirdParty.edit(mishap.lock);
        return;
      case 'force':
        void this.operator.forceRelease(mishap.lock);
        return;
      case 'delete-session':
        this.deleteSession();
        return;
      default:
        for (const client of this.running) {
          if (client.plan.name === mishap.client) {
            this.meetClient(client, mishap);
          }
        }
    }
  }

  private deleteSession(): void {
    const { api, statistics } = this.world;
    const sessions = api
      .list('default')
      .filter((lease) => isSession(lease) && holderOf(lease) !== '');
    if (sessions.length > 0) {
      statistics.count('sessions deleted by hand');
      this.thirdParty.delete(referenceOf(this.random.pick(sessions)));
    }
  }

  private meetClient(
    client: EngineClient,
    mishap: Mishap & { client: string },
  ): void {
    switch (mishap.kind) {
      case 'pause':
        client.machine.pause(mishap.length);
        return;
      case 'wall-step':
        client.machine.wallOffset = mishap.to;
        return;
      case 'crash':
        this.world.statistics.count('crashes');
        client.crash();
        this.restartAfter(mishap.downtime, client.plan);
        return;
      case 'shutdown':
        this.shutDown(client, mishap.timeout);
        this.restartAfter(mishap.downtime, client.plan);
    }
  }

  /**
   * One client goes in the middle of a run, or all do. Others may come in their place, which have never
   * seen the lock before.
   */
  private goDuringRun(
    machine: Machine,
    { period, catchUp }: JobPlan,
    until: number,
  ): void {
    const { random, running } = this;
    const { scheduler } = this.world;
    const leaving = random.chance(catchUp ? 0.8 : 0.5)
      ? running
      : running.filter((client) => client.machine === machine);
    const isEmpty = leaving.length === running.length;
    const isReplaced = isEmpty || random.chance(0.5);
    const goneAt = scheduler.now + random.magnitude(0.1, period / 8);
    const comesAt = isReplaced
      ? goneAt + random.between(0, 2 * period)
      : goneAt;
    this.change = { goneAt, comesAt, isEmpty };
    for (const client of leaving) {
      scheduler.at(goneAt, () => {
        if (random.chance(0.5)) {
          client.crash();
        } else {
          this.shutDown(client, random.magnitude(1, period / 8));
        }
      });
      if (isReplaced) {
        scheduler.at(comesAt, () => {
          this.startClient(client.plan, until);
        });
      }
    }
  }

  shutDown(client: EngineClient, timeout: number): void {
    this.closing.add(client);
    void client.shutdown(timeout).then(() => this.closing.delete(client));
  }

  private restartAfter(downtime: number, plan: ClientPlan): void {
    const { scheduler, statistics } = this.world;
    scheduler.at(scheduler.now + downtime, () => {
      if (!this.world.isHealed) {
        statistics.count('restarts');
        const { permitsAfterRestart: permits } = plan;
        this.startClient(permits === undefined ? plan : { ...plan, permits });
      }
    });
  }

  /** Somebody frees what the dead would hold for ever: what the living hold they must give back themselves. */
  private clean(): void {
    const { scheduler, scenario } = this.world;
    const live = [
      ...this.running.map(({ id }) => id),
      ...this.peers
        .filter(({ isGone }) => !isGone)
        .map(({ machine }) => machine.name),
    ];
    for (const lock of scenario.locks) {
      this.thirdParty.freeFrom(
        lock,
        (holder) => !live.some((id) => holder.startsWith(`${id}_`)),
      );
    }
    scheduler.at(scheduler.now + CLEANING, () => this.clean());
  }

  /** Somebody edits the metadata of every Lease, again and again. */
  private touch(): void {
    const { scheduler, scenario } = this.world;
    const { touchInterval, locks } = scenario;
    if (touchInterval !== undefined) {
      for (const lock of locks) {
        this.thirdParty.edit(lock);
      }
      scheduler.at(scheduler.now + touchInterval, () => this.touch());
    }
  }
}

function referenceOf({ metadata: { name } }: StoredLease): LockReference {
  return { name, namespace: 'default', leaseName: name };
}
