/** The worker processes of a run: started, killed and replaced, and what they say. */
import { setTimeout as sleep } from 'node:timers/promises';
import { monotonic } from '../processes/programs/calls.js';
import type { Random } from '../simulation/random.js';
import type { Finding, RegisterWrite } from './evidence.js';
import type { Clock } from './faketime.js';
import type { FaultProxy } from './fault-proxy.js';
import type { Mode, Report } from './programs/messages.js';
import {
  WorkerProcess,
  type WorkerPlan,
  type WorkerSetting,
} from './worker-process.js';

/** Milliseconds by which a falsified clock may be off what it was set to. */
const CLOCK_TOLERANCE = 2;

export type WorkforceSetting = Omit<WorkerSetting, 'hear' | 'failed'>;

export class Workforce implements AsyncDisposable {
  /** Every process that there ever was. */
  readonly all: WorkerProcess[] = [];
  readonly register: RegisterWrite[] = [];
  readonly incidents: Finding[] = [];
  private readonly greatest = new Map<string, bigint>();
  private readonly listeners = new Set<
    (worker: WorkerProcess, report: Report) => void
  >();
  /** How often the worker of a place was started. */
  private readonly starts = new Map<string, number>();
  private mode: Mode = 'work';

  constructor(
    private readonly setting: WorkforceSetting,
    private readonly proxy: FaultProxy,
    private readonly plan: Omit<WorkerPlan, 'renewal'>,
    private readonly random: Random,
    /** Those that a process may be started with. */
    private readonly clocks: readonly Clock[],
  ) {}

  get alive(): WorkerProcess[] {
    return this.all.filter(({ isAlive }) => isAlive);
  }

  async start(count: number): Promise<void> {
    const places = Array.from({ length: count }, (_, index) => `w${index + 1}`);
    await Promise.all(places.map((place) => this.startAt(place)));
  }

  /** Kills a process, and starts another one in its place after a while (milliseconds). */
  async replace(worker: WorkerProcess, after: number): Promise<WorkerProcess> {
    await worker.kill();
    await sleep(after);
    await this.startAt(worker.name.split('.')[0]!);
    return worker;
  }

  /** Who has told that it holds a lock. */
  holderOf(lock: string): WorkerProcess | undefined {
    return this.alive.find(({ holdings }) => holdings.get(lock)?.size);
  }

  turnTo(mode: Mode): void {
    this.mode = mode;
    for (const worker of this.alive) {
      worker.turnTo(mode);
    }
  }

  /** Calls back for everything that workers say. @returns what ends that */
  listen(
    listener: (worker: WorkerProcess, report: Report) => void,
  ): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Has all processes end by themselves. */
  async finish(timeout: number): Promise<void> {
    await Promise.all(
      this.alive.map(async (worker) => {
        if (!(await worker.finish(timeout))) {
          this.add(
            'process-failed',
            `${worker.name} did not end within ${timeout} ms after its application was closed`,
          );
        }
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.alive.map((worker) => worker.kill()));
  }

  add(check: Finding['check'], text: string, lock?: string): void {
    this.incidents.push({ check, text, lock, at: monotonic() });
  }

  private async startAt(place: string): Promise<void> {
    const count = (this.starts.get(place) ?? 0) + 1;
    this.starts.set(place, count);
    const endpoint = await this.proxy.open(`${place}.${count}`);
    const clock = this.random.pick(this.clocks);
    const setting: WorkerSetting = {
      ...this.setting,
      hear: (worker, report) => this.hear(worker, report),
      failed: ({ name }, how) =>
        this.add('process-failed', `${name} ended by itself: ${how}`),
    };
    const worker = await WorkerProcess.start(
      setting,
      endpoint,
      'unavailable' in this.setting.faketime ? { ...clock, rate: 1 } : clock,
      { ...this.plan, renewal: renewalAt(place) },
    );
    this.all.push(worker);
    worker.turnTo(this.mode);
  }

  private hear(worker: WorkerProcess, report: Report): void {
    if (report.type === 'write') {
      this.writeRegister(worker.name, report);
    } else if (report.type === 'undocumented-error') {
      this.add('undocumented-error', `${worker.name}: ${report.text}`);
    } else if (
      report.type === 'clock-residual' &&
      report.residual > CLOCK_TOLERANCE
    ) {
      this.add(
        'clock-unknown',
        `the clock of ${worker.name} is ${report.residual.toFixed(2)} ms off what it was set to`,
      );
    }
    for (const listener of this.listeners) {
      listener(worker, report);
    }
  }

  /** The fenced register: it refuses tokens smaller than it has seen. */
  private writeRegister(
    process: string,
    { lock, holding, token: digits }: Report & { type: 'write' },
  ): void {
    const token = BigInt(digits);
    const greatest = this.greatest.get(lock) ?? 0n;
    const accepted = token >= greatest;
    if (accepted) {
      this.greatest.set(lock, token);
    }
    const at = monotonic();
    this.register.push({ lock, process, holding, token, at, accepted });
  }
}

/** Every other process holds its locks under a session. */
function renewalAt(place: string): WorkerPlan['renewal'] {
  return Number(place.slice(1)) % 2 === 0 ? 'session' : 'lock';
}
