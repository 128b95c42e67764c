/** What a pod asks of the API server in all its life, by that server's own audit log: its own rights, Leases of its namespace, and nothing else. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Injectable } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { expect, it } from 'vitest';
import { LockHealthIndicator } from '../../lib/health/index.js';
import { WithLeaseLock } from '../../lib/index.js';
import { startKubeApiserver } from './kube-apiserver.js';
import {
  applyTo,
  changeRules,
  readManifests,
} from '../../test/deploy/manifests.js';

/** An entry of the audit log: one request, when it was answered. */
interface AuditEvent {
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string };
  /** Absent when what was asked for is no resource, as `/version`. */
  readonly objectRef?: {
    readonly apiGroup?: string;
    readonly resource: string;
    readonly subresource?: string;
    readonly namespace?: string;
  };
  readonly annotations: Readonly<Record<string, string>>;
}

@Injectable()
class Jobs {
  @Cron('0 0 1 1 *')
  @WithLeaseLock('nightly-report', { deleteOnRelease: false })
  async nightly() {}

  @WithLeaseLock('invoices', { onLocked: 'skip' })
  async invoices() {}
}

const anyLockAndDelete = changeRules(
  readManifests('kustomize/base/any-lock'),
  ([rule]) => [{ ...rule!, verbs: [...rule!.verbs, 'delete'] }],
);

/** Everything that there is to do with locks, in two pods, from the start to the shutdown; returns the namespace. */
async function liveInTwoPods(adminKubeConfig: string): Promise<string> {
  await using cluster = await applyTo(adminKubeConfig, anyLockAndDelete);
  const life = { providers: [Jobs, LockHealthIndicator] };
  const one = await cluster.startPod({ deleteOnRelease: true }, life);
  const two = await cluster.startPod({}, life);
  await one.get(Jobs).nightly();
  await one.get(Jobs).invoices();
  await two.get(Jobs).invoices();

  const held = await one.locks.acquire('import', { renewInterval: 20 });
  expect(await two.locks.tryAcquire('import')).toBeUndefined();
  const next = two.locks.acquire('import', { leaseDuration: 'infinite' });
  await new Promise<void>((resolve) => {
    one.locks.events$.subscribe(({ type }) => type === 'renewed' && resolve());
  });
  await held.release();
  await next;
  await one.locks.inspect('import');
  await one.locks.list();
  await one.locks.forceRelease('import');
  const health = one.get(LockHealthIndicator);
  expect(await health.isHealthy('locks')).toMatchObject({
    locks: { status: 'up' },
  });
  return cluster.namespace;
}

it('The audit log of the real API server has requests about its own rights and about Leases of its namespace, all of them allowed, and no others', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'audit-'));
  const policy = join(folder, 'policy.json');
  const log = join(folder, 'audit.log');
  await writeFile(
    policy,
    JSON.stringify({
      apiVersion: 'audit.k8s.io/v1',
      kind: 'Policy',
      omitStages: ['RequestReceived'],
      rules: [{ level: 'Metadata' }],
    }),
  );
  let namespace: string;
  {
    await using server = await startKubeApiserver({
      flags: [`--audit-policy-file=${policy}`, `--audit-log-path=${log}`],
    });
    namespace = await liveInTwoPods(server.kubeConfig());
  }
  const lines = (await readFile(log, 'utf8')).trim().split('\n');
  await rm(folder, { recursive: true });
  const asked = lines
    .map((line): AuditEvent => JSON.parse(line))
    .filter(
      ({ user }) => user.username === `system:serviceaccount:${namespace}:api`,
    );

  const leases = `leases.coordination.k8s.io in ${namespace}`;
  expect(new Set(asked.map(describeRequest))).toEqual(
    new Set([
      'create selfsubjectaccessreviews.authorization.k8s.io',
      ...['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'].map(
        (verb) => `${verb} ${leases}`,
      ),
    ]),
  );
  expect(new Set(asked.map((event) => event.annotations[DECISION]))).toEqual(
    new Set(['allow']),
  );
  const watched = asked
    .filter(({ verb }) => verb === 'watch')
    .map(({ requestURI }) =>
      new URL(requestURI, 'https://server').searchParams.get('fieldSelector'),
    );
  expect(new Set(watched)).toEqual(
    new Set(
      ['nightly-report', 'invoices', 'import'].map(
        (name) => `metadata.name=${name}`,
      ),
    ),
  );
});

const DECISION = 'authorization.k8s.io/decision';

function describeRequest({ verb, requestURI, objectRef }: AuditEvent): string {
  if (objectRef === undefined) {
    return `${verb} ${requestURI}`;
  }
  const { resource, subresource, apiGroup, namespace } = objectRef;
  const where = namespace === undefined ? '' : ` in ${namespace}`;
  return `${verb} ${[resource, subresource].filter(Boolean).join('/')}.${apiGroup}${where}`;
}
