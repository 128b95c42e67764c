/** Starts and stops real API servers for tests, benchmarks and fault suites. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildKubeApiserver } from './build.js';
import { KubeClient } from '../../test/kube-client.js';

export interface KubeApiserverOptions {
  /** Names of users that have no rights, each with a token; give them some with `KubeClient.grant`. */
  users?: readonly string[];
  /** Whether etcd flushes every write to disk. Default: false, for speed. */
  fsync?: boolean;
  /** Further flags of kube-apiserver, as `--watch-cache=false`. */
  flags?: readonly string[];
}

const ADMIN = 'admin';
const READY_TIMEOUT = 60_000;
const EXIT_GRACE = 5_000;

/**
 * Starts an API server on a free port of 127.0.0.1 with an etcd of its own, and waits until it is
 * ready. Builds it first where that is still to be done. It ends with this process at the latest,
 * however this process ends, and takes its data with it.
 */
export async function startKubeApiserver(
  options: KubeApiserverOptions = {},
): Promise<KubeApiserver> {
  const binary = await buildKubeApiserver();
  const dataDir = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-'));
  const server = new KubeApiserver(binary, dataDir, options);
  try {
    await server.resume();
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** An API server that this process started. */
export class KubeApiserver implements AsyncDisposable {
  /** Tokens by user: `admin`, who may do everything, and the users asked for. */
  readonly tokens: Readonly<Record<string, string>>;
  #child?: ChildProcess;
  #addresses?: { server: string; control: string };
  #keys?: { ca: string; cert: string; key: string };

  constructor(
    private readonly binary: string,
    /** Goes with `stop()`. Its `kube-apiserver.log` is what the server wrote. */
    readonly dataDir: string,
    private readonly options: KubeApiserverOptions,
  ) {
    this.tokens = Object.fromEntries(
      [ADMIN, ...(options.users ?? [])].map((user) => [
        user,
        randomBytes(16).toString('hex'),
      ]),
    );
  }

  /** The URL of the API server; it survives a restart. */
  get server(): string {
    return this.#started.addresses.server;
  }

  /** The URL of the endpoint that disturbs etcd; another one after each restart. */
  get controlUrl(): string {
    return this.#started.addresses.control;
  }

  /** The certificate (PEM) of the authority that signed the server's certificate. */
  get caData(): string {
    return this.#started.keys.ca;
  }

  /** The process, while it runs: for signals such as SIGSTOP. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** A kubeconfig (YAML) with the token of a user. */
  kubeConfig(user = ADMIN): string {
    const token = this.tokens[user];
    if (token === undefined) {
      throw new Error(`the API server was started without a user "${user}"`);
    }
    return this.#kubeConfigFor(user, { token });
  }

  /** A kubeconfig (YAML) of a user who may do everything and proves it with a client certificate. */
  clientCertificateKubeConfig(): string {
    const { cert, key } = this.#started.keys;
    return this.#kubeConfigFor('certificate-admin', {
      'client-certificate-data': base64(cert),
      'client-key-data': base64(key),
    });
  }

  /** Ends the process; data, port and credentials stay for `resume()`. SIGKILL is a crash. */
  async halt(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await this.#end((child) => child.kill(signal));
  }

  /** Starts the process again after `halt()`, and waits until it is ready. */
  async resume(): Promise<void> {
    if (this.#child && !hasExited(this.#child)) {
      throw new Error('the API server runs already');
    }
    const { dataDir, options } = this;
    const tokenFile = join(dataDir, 'tokens.csv');
    await writeFile(tokenFile, tokenTable(this.tokens), { mode: 0o600 });
    const log = await open(this.#logFile, 'a');
    const child = spawn(
      this.binary,
      [
        `--data-dir=${dataDir}`,
        `--port=${this.#addresses ? new URL(this.server).port : 0}`,
        `--token-file=${tokenFile}`,
        `--fsync=${options.fsync ?? false}`,
        '--ephemeral',
        '--',
        ...(options.flags ?? []),
      ],
      // A group of its own: a Ctrl-C is for this process, which then ends the server in its own time.
      { stdio: ['pipe', 'pipe', log.fd], detached: true },
    );
    try {
      await once(child, 'spawn');
    } finally {
      await log.close();
    }
    this.#child = child;
    this.#addresses = await this.#readAddresses(child);
    this.#keys ??= {
      ca: await this.#readKey('ca.crt'),
      cert: await this.#readKey('admin.crt'),
      key: await this.#readKey('admin.key'),
    };
    await this.#ready(child);
  }

  /** Ends the process and starts it again on the same data and port. */
  async restart(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    await this.halt(signal);
    await this.resume();
  }

  /**
   * Compacts etcd to its current revision, which it returns: what is older is gone. The API server's
   * watch cache still answers for the past: only a restart, or the flag
   * `--watch-cache-sizes=leases.coordination.k8s.io#0`, makes a watch from there end with a 410.
   */
  async compact(): Promise<number> {
    const answer = await this.#control('POST', '/compact');
    const { revision }: { revision: number } = JSON.parse(answer);
    return revision;
  }

  /** Holds up each write by so many milliseconds from now on, as a slow disk would; 0 ends it. */
  async delayWrites(milliseconds: number): Promise<void> {
    await this.#control('PUT', '/write-delay', `${milliseconds}ms`);
  }

  /** Ends the process for certain and removes its data. */
  async stop(): Promise<void> {
    await this.#end((child) => child.stdin?.destroy());
    await rm(this.dataDir, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #started() {
    if (!this.#addresses || !this.#keys) {
      throw new Error('the API server has not started');
    }
    return { addresses: this.#addresses, keys: this.#keys };
  }

  get #logFile(): string {
    return join(this.dataDir, 'kube-apiserver.log');
  }

  /** Asks the process to end, and kills it if it is still there after the grace. */
  async #end(ask: (child: ChildProcess) => void): Promise<void> {
    const child = this.#child;
    if (!child) {
      return;
    }
    this.#child = undefined;
    if (hasExited(child)) {
      return;
    }
    const exited = once(child, 'exit');
    ask(child);
    const kill = setTimeout(() => child.kill('SIGKILL'), EXIT_GRACE);
    await exited;
    clearTimeout(kill);
  }

  /** The process prints one line as soon as it listens; it may end without one. */
  async #readAddresses(
    child: ChildProcess,
  ): Promise<{ server: string; control: string }> {
    for await (const line of createInterface({ input: child.stdout! })) {
      return JSON.parse(line);
    }
    throw await this.#failure('did not start');
  }

  async #ready(child: ChildProcess): Promise<void> {
    const admin = new KubeClient(this.kubeConfig());
    const deadline = performance.now() + READY_TIMEOUT;
    for (;;) {
      const answer = await admin
        .request<string>('GET', '/readyz')
        .catch((error: Error) => ({ status: 0, body: error.message }));
      if (answer.status === 200) {
        return;
      }
      if (hasExited(child)) {
        throw await this.#failure('ended while it started');
      }
      if (performance.now() > deadline) {
        throw await this.#failure(`is not ready (${answer.body})`);
      }
      await sleep(50);
    }
  }

  async #failure(what: string): Promise<Error> {
    const log = await readFile(this.#logFile, 'utf8').catch(() => '');
    return new Error(`kube-apiserver ${what}:\n${log.slice(-4_000)}`);
  }

  #readKey(file: string): Promise<string> {
    return readFile(join(this.dataDir, 'pki', file), 'utf8');
  }

  async #control(method: string, path: string, body?: string): Promise<string> {
    const response = await fetch(this.controlUrl + path, { method, body });
    const answer = await response.text();
    if (!response.ok) {
      throw new Error(`${method} ${path} failed: ${answer}`);
    }
    return answer;
  }

  /** JSON is YAML. */
  #kubeConfigFor(name: string, user: Record<string, string>): string {
    const cluster = {
      server: this.server,
      'certificate-authority-data': base64(this.caData),
    };
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster }],
      users: [{ name, user }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: name } }],
      'current-context': 'test',
    });
  }
}

/** The file format of --token-auth-file: token, name, uid, groups. */
function tokenTable(tokens: Readonly<Record<string, string>>): string {
  return Object.entries(tokens)
    .map(([user, token]) => {
      const groups = user === ADMIN ? ['system:masters'] : [];
      return [token, user, user, ...groups].join(',') + '\n';
    })
    .join('');
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

function hasExited(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
