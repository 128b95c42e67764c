/** Everything that a run has only one of: its time, its API server, its network, and its checks. */
import type { LeaseKey, StoredLease } from '../../lib/kube/lease-store.js';
import { ApiModel } from './api-model.js';
import { Checker } from './checker.js';
import { Findings } from './findings.js';
import { FireCalls } from './fire-calls.js';
import { Fires } from './fires.js';
import { Holdings } from './holdings.js';
import { Network } from './network.js';
import type { Random } from './random.js';
import type { Scenario } from './scenario.js';
import { Scheduler } from './scheduler.js';
import { SignsOfLife } from './signs-of-life.js';
import type { Surroundings } from './simulated-store.js';
import { LONGEST_GAP, type WatchFaults } from './simulated-watch.js';
import { Statistics } from './statistics.js';
import { Timeline } from './timeline.js';
import { WriteJudge } from './write-judge.js';

/** Milliseconds until what was under way when things went right has arrived, at most. */
const LONGEST_AFTERMATH = LONGEST_GAP + 10_000;

export class World implements Surroundings {
  readonly scheduler = new Scheduler();
  readonly statistics = new Statistics();
  readonly api = new ApiModel();
  readonly timeline: Timeline;
  readonly findings: Findings;
  readonly holdings: Holdings;
  readonly network: Network;
  readonly watchFaults: WatchFaults;
  readonly judge: WriteJudge;
  readonly checker: Checker;
  readonly fires: Fires;
  readonly calls: FireCalls;
  readonly signs: SignsOfLife;
  private healedAt = Infinity;
  private readonly delayOfFaults: number;

  constructor(
    readonly scenario: Scenario,
    random: Random,
    withTimeline: boolean,
  ) {
    const { scheduler, statistics } = this;
    const timeline = new Timeline(scheduler, withTimeline);
    const findings = new Findings(scheduler, timeline);
    const holdings = new Holdings(timeline);
    this.timeline = timeline;
    this.findings = findings;
    this.holdings = holdings;
    this.network = new Network(random.fork('network'), scenario.network);
    this.watchFaults = { ...scenario.watch, random: random.fork('watch') };
    this.delayOfFaults =
      scenario.watch.longestLag + this.network.greatestLatency;
    this.judge = new WriteJudge(
      scheduler,
      findings,
      holdings,
      timeline,
      statistics,
    );
    this.signs = new SignsOfLife(this.judge.sessions);
    this.checker = new Checker(
      scheduler,
      findings,
      holdings,
      this.judge,
      timeline,
      statistics,
      this.delayOfFaults,
      scenario.permits ?? 1,
    );
    this.fires = new Fires(
      scenario.job?.lock.leaseName,
      findings,
      holdings,
      timeline,
      statistics,
    );
    this.calls = new FireCalls(this);
    this.api.subscribe((write) => {
      this.signs.written(write, scheduler.now);
      this.judge.judge(write);
      this.fires.written(write);
    });
  }

  mayPatch(name: string): boolean {
    const { now } = this.scheduler;
    return (
      this.isHealed ||
      !this.scenario.patchRefusals.some(
        ({ from, until, client = name }) =>
          client === name && now >= from && now < until,
      )
    );
  }

  /** From now on nothing goes wrong any more, and nobody begins anything new. */
  get isHealed(): boolean {
    return this.healedAt !== Infinity;
  }

  /** No fire is in the way of the next one, nor is a call late for it. */
  get isCalm(): boolean {
    return this.isHealed || this.scenario.partition !== undefined;
  }

  /** True time from which on nothing that has gone wrong has any effect. */
  get settlesAt(): number {
    return this.healedAt + LONGEST_AFTERMATH;
  }

  get isSettled(): boolean {
    return this.scheduler.now >= this.settlesAt;
  }

  get longestDelay(): number {
    return this.isSettled ? this.network.greatestLatency : this.delayOfFaults;
  }

  heal(): void {
    this.timeline.add('world', () => 'heals');
    this.healedAt = this.scheduler.now;
    this.network.heal();
    Object.assign(this.watchFaults, {
      isForbidden: false,
      longestLag: 0,
      broken: 0,
      repeated: 0,
      stale: 0,
    });
  }

  /** What is stored has been replaced: what the API server has said and granted before counts for nothing. */
  restored(): void {
    this.timeline.add('world', () => 'is restored from a backup');
    this.statistics.count('restores');
    this.judge.restored(this.api.list('default'));
    this.checker.restored();
    this.fires.restored();
  }

  onPatchTooSoon(name: string, leaseName: string): void {
    this.findings.add(
      'refusal-ignored',
      `${name} may not patch ${leaseName}, and tries again at once`,
    );
  }

  onReplace(key: LeaseKey, lease: StoredLease, basedOn?: bigint): void {
    this.checker.replacing(key, lease, basedOn);
    this.fires.replacing(lease);
  }
}
