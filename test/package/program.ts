/** Runs a program as a user does, and keeps what it prints. */
import { spawn, type ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { join } from 'node:path';
import { buildFolder } from '../support/build-folder.js';

export interface Ended {
  /** stdout and stderr, as they came. */
  readonly output: string;
  /** Null when a signal ended it. */
  readonly code: number | null;
}

export class Program implements AsyncDisposable {
  /** stdout and stderr so far. */
  output = '';
  private readonly child: ChildProcess;
  private readonly printed = new EventEmitter();
  private readonly closed: Promise<number | null>;
  private hasClosed = false;

  constructor(
    command: string,
    args: readonly string[],
    {
      cwd,
      env = {},
      ...user
    }: { cwd: string; env?: NodeJS.ProcessEnv; uid?: number; gid?: number },
  ) {
    this.child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      ...user,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
        this.printed.emit('more');
      });
    }
    this.closed = new Promise((resolve) => {
      this.child.once('close', (code) => {
        this.hasClosed = true;
        this.printed.emit('more');
        resolve(code);
      });
    });
  }

  /** Resolves with what matches, once it has been printed so many times. */
  async prints(pattern: RegExp, times = 1): Promise<RegExpExecArray[]> {
    for (;;) {
      const matches = [...this.output.matchAll(pattern)];
      if (matches.length >= times) {
        return matches;
      }
      if (this.hasClosed) {
        throw new Error(
          `it ended and did not print ${pattern}:\n${this.output}`,
        );
      }
      await once(this.printed, 'more');
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async end(): Promise<Ended> {
    return { code: await this.closed, output: this.output };
  }

  /** Resolves with what it printed; rejects when it failed. */
  async succeeds(): Promise<string> {
    const { code, output } = await this.end();
    if (code !== 0) {
      throw new Error(`exit code ${code}:\n${output}`);
    }
    return output;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGKILL');
    await this.closed;
  }
}

/** Runs one of the programs of this folder, as it was built; resolves with what it printed. */
export function runBuilt(name: string): Promise<string> {
  const cwd = buildFolder();
  const program = join(cwd, 'test/package/programs', `${name}.js`);
  return new Program(process.execPath, [program], { cwd }).succeeds();
}
