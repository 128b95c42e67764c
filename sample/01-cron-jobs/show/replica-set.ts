/** The replicas: starts them, shows and writes down what they report, and ends them. */
import { EventEmitter, once } from 'node:events';
import { seconds, type Display } from '../../stage/display.js';
import { ReplicaProcess } from '../../stage/replica-process.js';
import type { Report } from './report.js';
import type { Kill, Run, RunLog } from './run-log.js';

export const REPLICAS = ['replica-1', 'replica-2', 'replica-3'] as const;

const PROGRAM = new URL('../replica.js', import.meta.url);

/** Emits each run as it begins and as it ends. */
export class ReplicaSet
  extends EventEmitter<{ begin: [run: Run]; end: [run: Run] }>
  implements AsyncDisposable
{
  /** Those that live and that nobody has asked to end. */
  private readonly alive = new Map<string, ReplicaProcess<Report>>();
  private readonly killed = new Map<string, Kill>();
  private readonly crash = new AbortController();

  constructor(
    private readonly log: RunLog,
    private readonly display: Display,
  ) {
    super();
  }

  /** Aborts when a replica ends by itself; the reason is a sentence about it. */
  get crashed(): AbortSignal {
    return this.crash.signal;
  }

  get size(): number {
    return this.alive.size;
  }

  /** Starts all of them at once; resolves when all listen. */
  async start(
    envOf: (name: string) => NodeJS.ProcessEnv,
    signal: AbortSignal,
  ): Promise<void> {
    const starting = REPLICAS.map(async (name) => {
      const replica = this.startOne(name, envOf(name));
      await once(replica, 'ready', { signal });
      const { pid, url } = replica;
      this.display.log(name, 'ready', `pid ${pid}, ${url}`);
    });
    await Promise.all(starting);
  }

  /** The next run that begins or ends, in any of them. */
  async next(event: 'begin' | 'end', signal: AbortSignal): Promise<Run> {
    const [run]: Run[] = await once(this, event, { signal });
    return run!;
  }

  /** One of the others. */
  otherThan(name: string): ReplicaProcess<Report> {
    return [...this.alive.values()].find((other) => other.name !== name)!;
  }

  /** kill -9. Undefined when the replica was not at work any more as it died. */
  async kill(name: string): Promise<Kill | undefined> {
    const replica = this.alive.get(name)!;
    this.alive.delete(name);
    const kill = { replica: name, at: process.hrtime.bigint() };
    this.killed.set(name, kill);
    this.display.log(name, 'KILL', `kill -9 ${replica.pid}, at work`, {
      style: 'red',
      at: kill.at,
    });
    await replica.kill();
    const wasAtWork = this.log.gone(name, replica.endedAt!);
    return wasAtWork ? kill : undefined;
  }

  /** Shuts down what is left of them; resolves when none is. */
  async [Symbol.asyncDispose](): Promise<void> {
    const stopping = [...this.alive.values()].map(async (replica) => {
      await replica.stop();
      this.log.gone(replica.name, replica.endedAt!);
    });
    this.alive.clear();
    await Promise.all(stopping);
  }

  private startOne(
    name: string,
    env: NodeJS.ProcessEnv,
  ): ReplicaProcess<Report> {
    const replica = new ReplicaProcess<Report>(name, PROGRAM, env, {
      report: (report) => this.hear(name, report),
      line: (line) => this.display.log(name, 'log', line),
      crash: (how) => {
        this.alive.delete(name);
        this.log.gone(name, replica.endedAt!);
        this.display.log(name, 'CRASH', `ended by itself, ${how}`, {
          style: 'red',
        });
        this.crash.abort(`${name} ended by itself, ${how}`);
      },
    });
    this.alive.set(name, replica);
    return replica;
  }

  private hear(replica: string, report: Report): void {
    const { log, display } = this;
    const { at } = report;
    switch (report.type) {
      case 'begin': {
        const { run: id, token } = report;
        const run: Run = { replica, id, token, begin: at };
        log.begin(run);
        const takesOver = [...this.killed.values()].some(
          (kill) => log.findTakeover(kill) === run,
        );
        display.log(
          replica,
          'RUN',
          `fencing token ${token}${takesOver ? ', takes over' : ''}`,
          { style: 'green', at },
        );
        this.emit('begin', run);
        break;
      }
      case 'end': {
        const run = log.end(replica, report.run, at)!;
        display.log(replica, 'done', `in ${seconds(at - run.begin)}`, { at });
        this.emit('end', run);
        break;
      }
      case 'skipped':
        log.skip(replica);
        display.log(replica, 'skip', this.explain(report.holder), {
          style: 'dim',
          at,
        });
        break;
      case 'waiting':
        display.log(replica, 'wait', 'for the lock', { at });
    }
  }

  /** A holder identity is `<clientId>_<nonce>`. */
  private explain(holder: string | undefined): string {
    if (holder === undefined) {
      return 'this replica has the lock itself, or waits for it';
    }
    const name = holder.slice(0, holder.lastIndexOf('_'));
    return this.killed.has(name)
      ? `${name} had begun this one, and is dead`
      : `${name} has the lock`;
  }
}
