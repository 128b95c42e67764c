/** Debian's Prometheus with promtool, fetched once into the user's cache, and one that scrapes a page of this machine. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { obtainFolder } from '../../test/cached-folder.js';
import { Program } from '../../test/package/program.js';
import { unpackPackages } from '../debian-packages.js';

const run = promisify(execFile);

/** An alert that is pending or firing. */
export interface Alert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly state: 'pending' | 'firing';
}

/** A time series with its latest value. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [time: number, value: string];
}

/** Where its programs are. */
export async function obtainPrometheus(): Promise<string> {
  const folder = await obtainFolder('prometheus', (path) =>
    unpackPackages(path, ['prometheus']),
  );
  return join(folder, 'usr/bin');
}

/** Resolves with what promtool prints; rejects with that when it finds a fault. */
export async function promtool(
  args: readonly string[],
  cwd: string,
): Promise<string> {
  const program = join(await obtainPrometheus(), 'promtool');
  try {
    const { stdout } = await run(program, args, { cwd });
    return stdout;
  } catch (error) {
    const told = ['stdout', 'stderr'].map((stream) =>
      error instanceof Error ? String(Reflect.get(error, stream)) : '',
    );
    throw new Error(`promtool ${args.join(' ')}:\n${told.join('')}`, {
      cause: error,
    });
  }
}

export class Prometheus implements AsyncDisposable {
  private constructor(
    private readonly program: Program,
    private readonly folder: string,
    private readonly url: string,
  ) {}

  /**
   * Scrapes and evaluates twice a second.
   *
   * @param target host and port of the page `/metrics`
   * @param rules YAML
   */
  static async start(target: string, rules: string): Promise<Prometheus> {
    const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-'));
    await writeFile(join(folder, 'rules.yaml'), rules);
    // JSON is YAML.
    const config = {
      global: { scrape_interval: '500ms', evaluation_interval: '500ms' },
      rule_files: ['rules.yaml'],
      scrape_configs: [
        { job_name: 'sample', static_configs: [{ targets: [target] }] },
      ],
    };
    await writeFile(join(folder, 'prometheus.yml'), JSON.stringify(config));
    const program = new Program(
      join(await obtainPrometheus(), 'prometheus'),
      [
        '--config.file=prometheus.yml',
        '--storage.tsdb.path=data',
        '--web.listen-address=127.0.0.1:0',
      ],
      { cwd: folder },
    );
    const [line] = await program.prints(/"Listening on" address=(\S+)/g);
    await program.prints(/Server is ready to receive web requests/g);
    return new Prometheus(program, folder, `http://${line![1]}`);
  }

  async alerts(): Promise<Alert[]> {
    const { alerts } = await this.get<{ alerts: Alert[] }>('/api/v1/alerts');
    return alerts;
  }

  /** Rejects if the expression can't be parsed. */
  async query(expression: string): Promise<Sample[]> {
    const { result } = await this.get<{ result: Sample[] }>(
      `/api/v1/query?query=${encodeURIComponent(expression)}`,
    );
    return result;
  }

  private async get<T>(path: string): Promise<T> {
    const response = await fetch(new URL(path, this.url));
    const answer: { data: T; error?: string } = JSON.parse(
      await response.text(),
    );
    if (!response.ok) {
      throw new Error(`${decodeURIComponent(path)}: ${answer.error}`);
    }
    return answer.data;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}
