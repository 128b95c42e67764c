/** The parent's side of one replica: starts its process, hears its reports, and ends it. */
import { fork, type ChildProcess } from 'node:child_process';
import type { Report } from './report.js';

const PROGRAM = new URL('../replica.js', import.meta.url);

/** Longer than the application takes to shut down. */
const GRACE_PERIOD = 15_000;

export class Replica implements AsyncDisposable {
  private readonly child: ChildProcess;
  private readonly ended: Promise<void>;
  private isEndWanted = false;

  constructor(
    name: string,
    env: NodeJS.ProcessEnv,
    hear: (report: Report) => void,
    crashed: (how: string) => void,
  ) {
    this.child = fork(PROGRAM, {
      env: { ...process.env, ...env, POD_NAME: name },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      detached: true, // a Ctrl-C is for the parent, which then ends this in its own time
    });
    this.child.on('message', hear);
    this.ended = new Promise((resolve) => {
      this.child.once('exit', (code, signal) => {
        resolve();
        if (!this.isEndWanted) {
          crashed(`${name} ended by itself (${signal ?? `exit code ${code}`})`);
        }
      });
    });
  }

  /** SIGTERM, as from the kubelet. Resolves when it is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.isEndWanted = true;
    this.child.kill('SIGTERM');
    const patience = setTimeout(() => this.child.kill('SIGKILL'), GRACE_PERIOD);
    await this.ended;
    clearTimeout(patience);
  }
}
