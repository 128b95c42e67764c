/** Everything that a run has only one of: its time, its API server, its network, and its checks. */
import type { LeaseKey, StoredLease } from '../../lib/kube/lease-store.js';
import { ApiModel } from './api-model.js';
import { Checker } from './checker.js';
import { Findings } from './findings.js';
import { Fires } from './fires.js';
import { Holdings } from './holdings.js';
import { Network } from './network.js';
import type { Random } from './random.js';
import type { Scenario } from './scenario.js';
import { Scheduler } from './scheduler.js';
import type { Surroundings } from './simulated-store.js';
import type { WatchFaults } from './simulated-watch.js';
import { Statistics } from './statistics.js';
import { Timeline } from './timeline.js';
import { WriteJudge } from './write-judge.js';

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
  private healed = false;

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
    this.judge = new WriteJudge(
      scheduler,
      findings,
      holdings,
      timeline,
      statistics,
    );
    this.checker = new Checker(
      scheduler,
      findings,
      holdings,
      this.judge,
      timeline,
      statistics,
      scenario.watch.longestLag + this.network.greatestLatency,
    );
    this.fires = new Fires(
      scenario.job?.lock.leaseName,
      findings,
      holdings,
      timeline,
      statistics,
    );
    this.api.subscribe((write) => {
      this.judge.judge(write);
      this.fires.written(write);
    });
  }

  /** From now on nothing goes wrong any more, and nobody begins anything new. */
  get isHealed(): boolean {
    return this.healed;
  }

  heal(): void {
    this.timeline.add('world', () => 'heals');
    this.healed = true;
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

  onReplace(key: LeaseKey, lease: StoredLease): void {
    this.checker.replacing(key, lease);
  }
}
