/** Each sample runs by its own main.ts, in a process, with the rights that its manifest grants, and its locks do what it says. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { clientOf } from '../../lib/lock.client.js';
import { LockService } from '../../lib/lock.service.js';
import { covers } from '../deploy/manifests.js';
import { Program } from '../package/program.js';
import { buildFolder } from '../support/build-folder.js';
import { readManifests, SAMPLES, type Sample } from './samples.js';

const POD = 'pod';

/** A process starts slowly on a busy machine. */
vi.setConfig({ testTimeout: 120_000 });

describe('sample 01', () => {
  it('runs the job, and answers 423 while another process has its lock', async () => {
    await using cluster = await Cluster.for('01-cron-jobs');
    const lock = await cluster.locks.acquire('invoices');
    await using app = cluster.start();
    const url = await app.url();
    const locked = await fetch(new URL('/invoices/send', url), {
      method: 'POST',
    });
    expect(locked.status).toBe(423);
    expect(await locked.json()).toMatchObject({ lock: 'invoices' });
    expect(app.output).not.toMatch('Sent');

    await lock.release();
    await app.prints(/Sent A-17, A-18, A-19, A-20, A-21/g, 2);
    expect(await app.stop()).toEqual([]);
    expect(await cluster.locks.inspect('invoices')).toMatchObject({
      state: 'free',
      exists: true,
    });
  });
});

describe('sample 02', () => {
  it('serves requests, each under its lock', async () => {
    await using cluster = await Cluster.for('02-http');
    await using app = cluster.start();
    const url = await app.url();
    const answers = [
      ['POST', '/orders/7/settlement', 201, { settled: '7', under: 'order-7' }],
      ['DELETE', '/orders/7', 200, ''],
      ['POST', '/orders/reminders', 201, { sent: true }],
      ['POST', '/stock/pears/reservations', 201, { reserved: 'pears' }],
      ['DELETE', '/stock/pears/reservations', 200, { freed: 'pears' }],
    ] as const;
    for (const [method, path, status, body] of answers) {
      const answer = await fetch(new URL(path, url), { method });
      const text = await answer.text();
      expect([answer.status, text && JSON.parse(text)]).toEqual([status, body]);
    }
    expect(await app.stop()).toEqual([]);
    expect(await cluster.locks.list()).toMatchObject([
      { name: 'reminders', state: 'free' },
    ]);
  });

  it('answers 423 for a locked order, and 204 for reminders that are being sent', async () => {
    await using cluster = await Cluster.for('02-http');
    await using order = await cluster.locks.acquire('order-7');
    await using reminders = await cluster.locks.acquire('reminders');
    await using app = cluster.start();
    const url = await app.url();
    const cancelled = await fetch(new URL('/orders/7', url), {
      method: 'DELETE',
    });
    expect(cancelled.status).toBe(423);
    expect(cancelled.headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
    const sent = await fetch(new URL('/orders/reminders', url), {
      method: 'POST',
    });
    expect(sent.status).toBe(204);
    expect([order.isHeld, reminders.isHeld]).toEqual([true, true]);
    expect(await app.stop()).toEqual([]);
  });
});

describe('sample 03', () => {
  it('claims the fires of one job, and those of the other not', async () => {
    await using cluster = await Cluster.for('03-once-per-fire');
    await using app = cluster.start();
    await app.prints(/Sent the statements/g, 2);
    await app.prints(/Fetched the rates/g, 2);
    expect(await app.stop()).toEqual([]);
    const claim = 'nestjs-k8s-lock/fire';
    const [statements, rates] = ['statements', 'rates'].map(
      (name) =>
        cluster.server.lease({ namespace: 'default', name })!.metadata
          .annotations ?? {},
    );
    expect(statements).toHaveProperty([claim]);
    expect(rates).not.toHaveProperty([claim]);
  });
});

it.each(SAMPLES)('the manifest of %s names no namespace', (sample) => {
  const manifests = readManifests(sample);
  expect(manifests.map(({ kind }) => kind)).toEqual([
    'ServiceAccount',
    'Role',
    'RoleBinding',
    'Deployment',
  ]);
  expect(JSON.stringify(manifests)).not.toContain('namespace');
});

/** An embedded API server whose pods may do what the Role of a sample grants. */
class Cluster implements AsyncDisposable {
  private constructor(
    private readonly sample: Sample,
    readonly server: LeaseApiServer,
    private readonly folder: string,
    /** Of another process, which may do everything. */
    readonly locks: LockService,
  ) {}

  static async for(sample: Sample): Promise<Cluster> {
    const rules = readManifests(sample).flatMap(
      ({ rules: each }) => each ?? [],
    );
    const server = await LeaseApiServer.start({
      allow: (access) =>
        access.user !== POD ||
        access.resource === 'selfsubjectaccessreviews' ||
        rules.some((rule) => covers(rule, access)),
    });
    const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-'));
    await writeFile(
      join(folder, 'kubeconfig'),
      server.kubeConfigYaml({ user: POD }),
    );
    const kubeConfig = await server.kubeConfig({ user: 'operator' });
    const locks = new LockService(resolveModuleOptions({ kubeConfig }));
    return new Cluster(sample, server, folder, locks);
  }

  start(): App {
    return new App(this.sample, join(this.folder, 'kubeconfig'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await clientOf(this.locks)!.shutdown();
    await this.server.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** A replica of a sample. */
class App extends Program {
  constructor(sample: Sample, kubeConfig: string) {
    const main = join(buildFolder(), 'sample', sample, 'main.js');
    super(process.execPath, [main], {
      cwd: buildFolder(),
      env: { KUBECONFIG: kubeConfig, PORT: '0', NO_COLOR: '1' },
    });
  }

  async url(): Promise<string> {
    const [line] = await this.prints(/running on: (\S+)/g);
    return line![1]!;
  }

  /** As the kubelet does. Resolves with the errors and warnings that it has logged. */
  async stop(): Promise<string[]> {
    this.signal('SIGTERM');
    const { output } = await this.end();
    return output.split('\n').filter((line) => /ERROR|WARN/.test(line));
  }
}
