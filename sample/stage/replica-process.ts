/** The parent's side of one replica: starts its process, hears its reports, and ends it. */
import { fork, type ChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { createInterface } from 'node:readline';
import type { Message } from './parent.js';

/** Longer than an application takes to shut down. */
const GRACE_PERIOD = 15_000;

export interface ReplicaListener<Report> {
  report(report: Report): void;
  /** A line that it wrote to stdout or stderr. */
  line(line: string): void;
  /** It has ended, and nobody asked it to. */
  crash(how: string): void;
}

/** Emits `ready` when the application has started. */
export class ReplicaProcess<Report> extends EventEmitter<{ ready: [] }> {
  /** Where it listens; empty until it is ready, or if it does not listen. */
  url = '';
  /** When its end was noticed: a moment later than all it did. */
  endedAt: bigint | undefined;

  private readonly child: ChildProcess;
  private readonly closed: Promise<void>;
  private isEndWanted = false;

  constructor(
    readonly name: string,
    program: URL,
    env: NodeJS.ProcessEnv,
    listener: ReplicaListener<Report>,
  ) {
    super();
    this.child = fork(program, {
      env: { ...process.env, NO_COLOR: '1', ...env, POD_NAME: name },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      serialization: 'advanced', // knows bigint
      detached: true, // a Ctrl-C is for the parent, which then ends this in its own time
    });
    for (const input of [this.child.stdout!, this.child.stderr!]) {
      createInterface({ input }).on('line', (line) => listener.line(line));
    }
    this.child.on('message', (message: Message<Report>) => {
      if ('ready' in message) {
        this.url = message.ready.url;
        this.emit('ready');
      } else {
        listener.report(message.report);
      }
    });
    this.child.once('exit', () => {
      this.endedAt = process.hrtime.bigint();
    });
    this.closed = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        resolve();
        if (!this.isEndWanted) {
          listener.crash(signal ? `by ${signal}` : `with exit code ${code}`);
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
  async stop(): Promise<void> {
    this.isEndWanted = true;
    this.child.kill('SIGTERM');
    const patience = setTimeout(() => this.child.kill('SIGKILL'), GRACE_PERIOD);
    await this.closed;
    clearTimeout(patience);
  }
}
