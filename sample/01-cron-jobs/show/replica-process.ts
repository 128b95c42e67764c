/** The parent's side of one replica: starts its process, hears its reports, and ends it. */
import { fork, type ChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { createInterface } from 'node:readline';
import type { Report } from './report.js';

const PROGRAM = new URL('../replica.js', import.meta.url);

interface ReplicaProcessEvents {
  listening: [];
  report: [report: Report];
  /** A line that it wrote to stdout or stderr. */
  line: [line: string];
  /** It has ended, and nobody asked it to. */
  crash: [how: string];
}

export class ReplicaProcess extends EventEmitter<ReplicaProcessEvents> {
  /** Where it listens; empty until it does. */
  url = '';
  /** When its end was noticed: a moment later than all it did. */
  endedAt: bigint | undefined;

  private readonly child: ChildProcess;
  private readonly closed: Promise<void>;
  private isEndWanted = false;

  constructor(
    readonly name: string,
    env: NodeJS.ProcessEnv,
  ) {
    super();
    this.child = fork(PROGRAM, {
      env: { ...process.env, NO_COLOR: '1', ...env, POD_NAME: name },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      serialization: 'advanced', // knows bigint
      detached: true, // a Ctrl-C is for the parent, which then ends this in its own time
    });
    for (const input of [this.child.stdout!, this.child.stderr!]) {
      createInterface({ input }).on('line', (line) => this.emit('line', line));
    }
    this.child.on('message', (report: Report) => {
      if (report.type === 'listening') {
        this.url = report.url;
        this.emit('listening');
      }
      this.emit('report', report);
    });
    this.child.once('exit', () => {
      this.endedAt = process.hrtime.bigint();
    });
    this.closed = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        resolve();
        if (!this.isEndWanted) {
          this.emit(
            'crash',
            signal ? `by ${signal}` : `with exit code ${code}`,
          );
        }
      });
    });
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  /** kill -9; resolves when it is gone and all that it had reported was heard. */
  async kill(): Promise<void> {
    this.isEndWanted = true;
    this.child.kill('SIGKILL');
    await this.closed;
  }

  /** SIGTERM, as from the kubelet; SIGKILL if it takes too long. Resolves when it is gone. */
  async stop(gracePeriod: number): Promise<void> {
    this.isEndWanted = true;
    this.child.kill('SIGTERM');
    const patience = setTimeout(() => this.child.kill('SIGKILL'), gracePeriod);
    await this.closed;
    clearTimeout(patience);
  }
}
