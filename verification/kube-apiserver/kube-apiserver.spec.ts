/** Proves that the API server of the tests is a real one, that it knows its users, and that it goes away. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import {
  beforeAll,
  describe,
  expect,
  inject,
  it,
  onTestFinished,
} from 'vitest';
import { startKubeApiserver } from './kube-apiserver.js';
import { KubeClient } from '../../test/kube-client.js';

const provided = inject('kubeApiserver')!;

const leasesOf = (namespace: string) =>
  `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;

const leaseHeldBy = (holderIdentity: string, name = 'job') => ({
  metadata: { name },
  spec: { holderIdentity, leaseDurationSeconds: 15 },
});

describe('the API server of this run', () => {
  let admin: KubeClient;

  beforeAll(() => {
    admin = new KubeClient(provided.kubeConfig);
  });

  it('is Kubernetes 1.37', async () => {
    const { body } = await admin.request('GET', '/version');

    expect(body).toMatchObject({
      major: '1',
      minor: '37',
      gitVersion: 'v1.37.2',
    });
  });

  it('replaces a Lease once per resourceVersion', async () => {
    const leases = leasesOf(await admin.createNamespace());
    const created = await admin.request('POST', leases, leaseHeldBy('a'));
    const replacement = {
      ...leaseHeldBy('b'),
      metadata: created.body.metadata,
    };

    const first = await admin.request('PUT', `${leases}/job`, replacement);
    const second = await admin.request('PUT', `${leases}/job`, replacement);

    expect(created.status).toBe(201);
    expect(first.status).toBe(200);
    expect(BigInt(first.body.metadata.resourceVersion)).toBeGreaterThan(
      BigInt(created.body.metadata.resourceVersion),
    );
    expect(second).toMatchObject({ status: 409, body: { reason: 'Conflict' } });
  });

  it('forbids everything to a user without rights', async () => {
    const restricted = new KubeClient(provided.restrictedKubeConfig);
    const leases = leasesOf(await admin.createNamespace());

    const answer = await restricted.request('GET', leases);

    expect(answer).toMatchObject({
      status: 403,
      body: { reason: 'Forbidden' },
    });
  });

  it('allows a user just what was granted, where it was granted', async () => {
    const restricted = new KubeClient(provided.restrictedKubeConfig);
    const namespace = await admin.createNamespace();
    const elsewhere = await admin.createNamespace();
    const leases = leasesOf(namespace);
    for (const name of ['mine', 'other']) {
      await admin.request('POST', leases, leaseHeldBy('a', name));
    }

    await admin.grant(namespace, 'restricted', [
      {
        apiGroups: ['coordination.k8s.io'],
        resources: ['leases'],
        resourceNames: ['mine'],
        verbs: ['get'],
      },
    ]);

    const status = async (method: string, path: string) =>
      (await restricted.request(method, path)).status;
    expect(await status('GET', `${leases}/mine`)).toBe(200);
    expect(await status('GET', `${leases}/other`)).toBe(403);
    expect(await status('DELETE', `${leases}/mine`)).toBe(403);
    expect(await status('GET', `${leasesOf(elsewhere)}/mine`)).toBe(403);
  });

  it('knows a user by a client certificate', async () => {
    const client = new KubeClient(provided.clientCertificateKubeConfig);

    const { status, body } = await client.request(
      'POST',
      '/apis/authentication.k8s.io/v1/selfsubjectreviews',
      {},
    );

    expect(status).toBe(201);
    expect(body).toMatchObject({
      status: { userInfo: { username: 'certificate-admin' } },
    });
  });
});

describe('a server that was started', () => {
  it('keeps data, port and credentials through a crash, and leaves nothing when stopped', async () => {
    await using server = await startKubeApiserver();
    const url = server.server;
    const admin = new KubeClient(server.kubeConfig());
    const lease = `${leasesOf('default')}/job`;
    await admin.request('POST', leasesOf('default'), leaseHeldBy('a'));
    const firstPid = server.pid!;

    await server.restart('SIGKILL');

    const pid = server.pid!;
    expect(pid).not.toBe(firstPid);
    expect(server.server).toBe(url);
    expect(await admin.request('GET', lease)).toMatchObject({
      status: 200,
      body: { spec: { holderIdentity: 'a' } },
    });

    await server.stop();

    expect([firstPid, pid].filter(isAlive)).toEqual([]);
    expect(existsSync(server.dataDir)).toBe(false);
    await expect(admin.request('GET', lease)).rejects.toThrow('ECONNREFUSED');
  });

  it('forgets what etcd compacted, and writes at the pace that it is told', async () => {
    await using server = await startKubeApiserver({
      // Else the API server answers from its watch cache, which a compaction does not touch.
      flags: ['--watch-cache-sizes=leases.coordination.k8s.io#0'],
    });
    const admin = new KubeClient(server.kubeConfig());
    const leases = leasesOf('default');
    const { body } = await admin.request('POST', leases, leaseHeldBy('a'));
    const { resourceVersion } = body.metadata;
    const past = `${leases}?resourceVersionMatch=Exact&resourceVersion=${resourceVersion}`;
    expect((await admin.request('GET', past)).status).toBe(200);
    await admin.request('POST', leases, leaseHeldBy('a', 'another'));

    await server.delayWrites(500);
    const begin = performance.now();
    await admin.request('POST', leases, leaseHeldBy('a', 'slow'));
    const duration = performance.now() - begin;
    await server.delayWrites(0);
    const revision = await server.compact();

    expect(duration).toBeGreaterThan(499);
    expect(revision).toBeGreaterThan(Number(resourceVersion));
    expect(await admin.request('GET', past)).toMatchObject({
      status: 410,
      body: { reason: 'Expired' },
    });
  });

  it('ends and cleans up when the process that started it is killed', async () => {
    const launcher = startLauncher();
    onTestFinished(() => void launcher.kill('SIGKILL'));
    const { pid, dataDir } = await firstLine(launcher);
    expect(isAlive(pid)).toBe(true);
    expect(existsSync(dataDir)).toBe(true);

    launcher.kill('SIGKILL');
    await once(launcher, 'exit');

    await expect.poll(() => isAlive(pid), { timeout: 5_000 }).toBe(false);
    expect(existsSync(dataDir)).toBe(false);
  });
});

/** Another process, which starts a server, says which, and then waits for ever. */
function startLauncher(): ChildProcess {
  const script = `
    import { runnerImport } from 'vite';
    const { module } = await runnerImport(${JSON.stringify(new URL('kube-apiserver.ts', import.meta.url).pathname)});
    const { pid, dataDir } = await module.startKubeApiserver();
    console.log(JSON.stringify({ pid, dataDir }));`;
  return spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function firstLine(
  launcher: ChildProcess,
): Promise<{ pid: number; dataDir: string }> {
  for await (const line of createInterface({ input: launcher.stdout! })) {
    return JSON.parse(line);
  }
  throw new Error('the launcher ended without a word');
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
