/** A worker process, as the run that started it knows it: what it holds, when it was paused, when it ended. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readBeliefs, type Belief } from '../beliefs/belief-log.js';
import { monotonic } from '../processes/programs/calls.js';
import type { InjectedFault, Pause } from './evidence.js';
import {
  environmentFor,
  type Clock,
  type ObtainedFaketime,
} from './faketime.js';
import type { Endpoint } from './fault-proxy.js';
import type {
  Mode,
  Order,
  Report,
  Stall,
  WorkerOptions,
} from './programs/messages.js';

export interface WorkerSetting {
  /** What was built for processes. */
  readonly build: string;
  /** For logs. */
  readonly folder: string;
  readonly faketime: ObtainedFaketime;
  readonly execArgv?: readonly string[];
  /** Everything that a worker says. */
  readonly hear: (worker: WorkerProcess, report: Report) => void;
  /** It has ended by itself. */
  readonly failed: (worker: WorkerProcess, how: string) => void;
}

export type WorkerPlan = Pick<
  WorkerOptions,
  'locks' | 'election' | 'callers' | 'seed' | 'renewal'
>;

export class WorkerProcess {
  readonly name: string;
  /** By lock, the acquisitions that it has told of and not ended. */
  readonly holdings = new Map<string, Set<string>>();
  /** When it was killed, or has ended. */
  endedAt = Infinity;
  private readonly child: ChildProcess;
  private readonly beliefLog: string;
  private readonly stallLog: string;
  private readonly pauses: Pause[] = [];
  private readonly exited: Promise<void>;
  private readonly startedAt = monotonic();
  private stoppedAt: number | undefined;
  /** How many have stopped it and not let it go on. */
  private stops = 0;
  /** It may run again, and nothing was heard of it since. */
  private mayHaveAwoken = false;
  private mayEnd = false;
  private output = '';

  private constructor(
    private readonly setting: WorkerSetting,
    readonly endpoint: Endpoint,
    readonly clock: Clock,
  ) {
    this.name = endpoint.process;
    this.beliefLog = join(setting.folder, `${this.name}.beliefs`);
    this.stallLog = join(setting.folder, `${this.name}.stalls`);
    const { faketime } = setting;
    this.child = fork(
      join(setting.build, 'verification/faults/programs/worker.js'),
      {
        execArgv: [...(setting.execArgv ?? [])],
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        env: {
          ...process.env,
          ...('library' in faketime && environmentFor(clock, faketime.library)),
        },
      },
    );
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output = (this.output + text).slice(-4_000);
      });
    }
    this.child.on('message', (report: Report) => this.hear(report));
    this.exited = this.untilExit();
  }

  /** Starts a process and waits until it is ready. */
  static async start(
    setting: WorkerSetting,
    endpoint: Endpoint,
    clock: Clock,
    plan: WorkerPlan,
  ): Promise<WorkerProcess> {
    const worker = new WorkerProcess(setting, endpoint, clock);
    const ready = once(worker.child, 'ready');
    worker.send({
      type: 'start',
      options: {
        ...plan,
        name: worker.name,
        kubeConfigYaml: endpoint.kubeConfigYaml,
        clockRate: clock.rate,
        wallClockOffset: 'library' in setting.faketime ? 0 : clock.offset,
        beliefLog: worker.beliefLog,
        stallLog: worker.stallLog,
      },
    });
    await Promise.race([ready, worker.exited]);
    return worker;
  }

  get isAlive(): boolean {
    return this.endedAt === Infinity;
  }

  turnTo(mode: Mode): void {
    this.send({ type: 'mode', mode });
  }

  sample(): void {
    this.send({ type: 'sample' });
  }

  /** Keeps its event loop busy, for so many milliseconds. */
  block(duration: number): void {
    const from = monotonic();
    this.pauses.push({
      process: this.name,
      from,
      to: from + duration,
      why: 'blocked',
    });
    this.send({ type: 'block', duration });
  }

  stop(): void {
    this.stops += 1;
    if (this.isAlive && this.stops === 1) {
      this.stoppedAt ??= monotonic();
      this.mayHaveAwoken = false;
      this.child.kill('SIGSTOP');
    }
  }

  goOn(): void {
    this.stops -= 1;
    if (this.stops === 0) {
      this.child.kill('SIGCONT');
      this.mayHaveAwoken = true;
    }
  }

  async kill(): Promise<void> {
    this.mayEnd = true;
    this.endedAt = Math.min(this.endedAt, monotonic());
    this.child.kill('SIGKILL');
    this.endStop();
    await this.exited;
  }

  /** Has it end by itself. @returns whether it did in time */
  async finish(timeout: number): Promise<boolean> {
    this.mayEnd = true;
    this.send({ type: 'finish' });
    const given = new AbortController();
    const late = sleep(timeout, true, { signal: given.signal }).catch(
      () => false,
    );
    const isLate = await Promise.race([this.exited.then(() => false), late]);
    given.abort();
    if (isLate) {
      await this.kill();
    }
    return !isLate;
  }

  beliefs(): Belief[] {
    return existsSync(this.beliefLog)
      ? readBeliefs(this.name, this.beliefLog, this.endedAt)
      : [];
  }

  /** Those that were inflicted on it, and those that it noticed itself. */
  allPauses(): Pause[] {
    const lines = existsSync(this.stallLog)
      ? readFileSync(this.stallLog, 'utf8').split('\n').slice(0, -1)
      : [];
    const noticed = lines.map((line): Pause => {
      const stall: Stall = JSON.parse(line);
      return { process: this.name, ...stall, why: 'stall' };
    });
    return [...this.pauses, ...noticed];
  }

  /** What is wrong with its clock, for all its life. */
  clockFaults(): InjectedFault[] {
    const { name: target, endedAt: to, startedAt: from } = this;
    const { offset, rate } = this.clock;
    const kinds = [
      ...(offset === 0 ? [] : ['wall clock off by hours']),
      ...(rate === 1 ? [] : ['clock rate off by up to 5 %']),
    ];
    return kinds.map((kind) => ({ kind, from, to, target }));
  }

  private send(order: Order): void {
    if (this.child.connected) {
      this.child.send(order, () => undefined); // it may be killed meanwhile
    }
  }

  private hear(report: Report): void {
    if (this.mayHaveAwoken) {
      this.endStop();
    }
    if (report.type === 'what-time') {
      this.send({ type: 'time', at: monotonic() });
    } else if (report.type === 'ready') {
      this.child.emit('ready');
    } else if (report.type === 'acquired') {
      const ofLock = this.holdings.get(report.lock) ?? new Set();
      this.holdings.set(report.lock, ofLock.add(report.holding));
    } else if (report.type === 'ended') {
      this.holdings.get(report.lock)?.delete(report.holding);
    }
    this.setting.hear(this, report);
  }

  private async untilExit(): Promise<void> {
    const [code, signal] = await once(this.child, 'close');
    this.endedAt = Math.min(this.endedAt, monotonic());
    if (!this.mayEnd || code > 0) {
      this.setting.failed(this, `${code ?? signal}: ${this.output.trim()}`);
    }
  }

  private endStop(): void {
    if (this.stoppedAt !== undefined) {
      this.pauses.push({
        process: this.name,
        from: this.stoppedAt,
        to: monotonic(),
        why: 'stopped',
      });
      this.stoppedAt = undefined;
      this.mayHaveAwoken = false;
    }
  }
}
