/** Replicas of one application, each a process: starts them together and ends them together. */
import { once } from 'node:events';
import { ReplicaProcess } from './replica-process.js';

/** Is told what each of them reports, and writes to stdout and stderr. */
interface ReplicasListener<Report> {
  report(name: string, report: Report): void;
  line(name: string, line: string): void;
}

export class Replicas<Report> implements AsyncDisposable {
  private readonly started: ReplicaProcess<Report>[] = [];
  private readonly crash = new AbortController();

  constructor(
    private readonly program: URL,
    private readonly listener: ReplicasListener<Report>,
  ) {}

  /** Aborts when one of them ends by itself; the reason is a sentence about it. */
  get crashed(): AbortSignal {
    return this.crash.signal;
  }

  /** Starts one for each name, all at once; resolves when all are ready. */
  async start(
    names: readonly string[],
    envOf: (name: string) => NodeJS.ProcessEnv,
    signal: AbortSignal,
  ): Promise<readonly ReplicaProcess<Report>[]> {
    for (const name of names) {
      const env = envOf(name);
      const replica = new ReplicaProcess<Report>(name, this.program, env, {
        report: (report) => this.listener.report(name, report),
        line: (line) => this.listener.line(name, line),
        crash: (how) => this.crash.abort(`${name} ended by itself, ${how}`),
      });
      this.started.push(replica);
    }
    await Promise.all(
      this.started.map((replica) => once(replica, 'ready', { signal })),
    );
    return this.started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.started.map((replica) => replica.stop()));
  }
}
