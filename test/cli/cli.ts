/** The CLI as people start it: processes of the built package, with a kubeconfig of an API server. */
import {
  spawn,
  type ChildProcess,
  type StdioOptions,
} from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach } from 'vitest';
import { buildFolder } from '../support/build-folder.js';

/** A program that notes when it runs, every few milliseconds, and ends at no signal but SIGKILL. */
export const STUBBORN = `
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) {
    process.on(signal, () => {});
  }
  setInterval(() => fs.appendFileSync(process.argv[1], Date.now() + '\\n'), 5);
`;

/** How a run has ended, and what it has printed. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A run of the CLI. */
export class Run {
  stdout = '';
  stderr = '';
  readonly ended: Promise<Ended>;

  constructor(readonly child: ChildProcess) {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = once(child, 'close').then(() => ({
      code: child.exitCode,
      stdout: this.stdout,
      stderr: this.stderr,
    }));
  }
}

/** Starts the CLI in a folder of the test file. Those that are left at the end of a test are killed. */
export class Cli {
  readonly folder = mkdtempSync(join(tmpdir(), 'nestjs-k8s-lock-cli-'));
  private readonly runs: Run[] = [];

  constructor() {
    afterEach(() => {
      for (const { child } of this.runs.splice(0)) {
        child.kill('SIGKILL');
      }
    });
    afterAll(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  /** The path of a kubeconfig with this text. */
  kubeconfig(yaml: string, name = 'kubeconfig'): string {
    const file = join(this.folder, name);
    writeFileSync(file, yaml);
    return file;
  }

  start(
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
    stdio: StdioOptions = ['ignore', 'pipe', 'pipe'],
  ): Run {
    const run = new Run(
      spawn(
        process.execPath,
        [join(buildFolder(), 'dist/cli/main.js'), ...args],
        { env: { ...process.env, ...env }, stdio },
      ),
    );
    this.runs.push(run);
    return run;
  }

  run(...start: Parameters<Cli['start']>): Promise<Ended> {
    return this.start(...start).ended;
  }
}
