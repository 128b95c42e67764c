/**
 * The overlays of `deploy/kustomize` on the real API server, which refuses every field that it does not know: their
 * pods, their rights, their priority, and their time to end.
 */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { kubeConfigOf, type Manifest } from '../../test/deploy/manifests.js';
import { findBlock } from '../../test/docs/pages.js';
import { KubeClient } from '../../test/kube-client.js';
import { eventually } from '../../test/support/eventually.js';
import { findMissing, startDemo } from '../sample/sample-demo.js';
import { buildOverlay } from './kustomize.js';

const FLOW_SCHEMAS = '/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas';
/** Which FlowSchema a request was assigned to, by the header of the answer. */
const HEADER = 'x-kubernetes-pf-flowschema-uid';

interface Probe {
  readonly httpGet?: { readonly path: string };
}

/** The parts of a Deployment that are used here. */
interface Deployment {
  readonly replicas: number;
  readonly selector: { readonly matchLabels: object };
  readonly template: {
    readonly metadata: object;
    readonly spec: {
      readonly terminationGracePeriodSeconds: number;
      readonly containers: readonly [
        {
          readonly startupProbe: Probe;
          readonly livenessProbe: Probe;
          readonly readinessProbe: Probe;
          readonly lifecycle: {
            readonly preStop: { readonly sleep: { readonly seconds: number } };
          };
        },
      ];
    };
  };
}

const { kubeConfig: adminKubeConfig } = inject('kubeApiserver')!;
const admin = new KubeClient(adminKubeConfig);

const OVERLAYS = await readdir(
  new URL('../../deploy/kustomize/overlays', import.meta.url),
);

it('there is one for development, and one for production', () => {
  expect(OVERLAYS).toEqual(['development', 'production']);
});

describe.each(OVERLAYS)('the overlay %s', (overlay) => {
  const namespace = `jobs-${overlay}`;
  let objects: Manifest[];
  beforeAll(async () => {
    objects = await buildOverlay(overlay);
    for (const object of objects) {
      // oxlint-disable-next-line no-await-in-loop -- in their order
      await apply(object);
    }
  });

  const deployment = () => {
    const found = objects.find(({ kind }) => kind === 'Deployment');
    const { spec }: { spec: Deployment } = JSON.parse(JSON.stringify(found));
    return spec;
  };
  const pod = () => deployment().template.spec;

  it('makes all of it, in its own namespace', () => {
    expect(objects.map(({ kind }) => kind).toSorted()).toEqual([
      'Deployment',
      'FlowSchema',
      'Namespace',
      'NetworkPolicy',
      'PodDisruptionBudget',
      'PriorityLevelConfiguration',
      'Role',
      'RoleBinding',
      'ServiceAccount',
    ]);
    expect(JSON.stringify(objects)).not.toContain('"jobs"');
    const { replicas } = deployment();
    expect(replicas).toBe(overlay === 'production' ? 3 : 1);
  });

  it('has pods that a namespace with the level "restricted" admits, and that its policies select', async () => {
    const { template, selector } = deployment();
    const { status, body } = await admin.request(
      'POST',
      `/api/v1/namespaces/${namespace}/pods?dryRun=All&fieldValidation=Strict`,
      {
        metadata: { ...template.metadata, name: 'api-0' },
        spec: template.spec,
      },
    );
    expect([status, body]).toEqual([201, expect.anything()]);
    const { containers } = pod();
    const weakened = containers.map((container) => ({
      ...container,
      securityContext: {},
    }));
    const refused = await admin.request(
      'POST',
      `/api/v1/namespaces/${namespace}/pods?dryRun=All`,
      {
        metadata: { name: 'api-1' },
        spec: { ...template.spec, containers: weakened },
      },
    );
    expect(refused.status).toBe(403);
    for (const kind of ['NetworkPolicy', 'PodDisruptionBudget']) {
      const text = JSON.stringify(objects.find((each) => each.kind === kind));
      expect(text).toContain(
        JSON.stringify({ matchLabels: selector.matchLabels }),
      );
    }
  });

  it('gives the pods the time to end that the library takes', () => {
    const { shutdownTimeout, requestTimeout } = resolveModuleOptions({});
    const { terminationGracePeriodSeconds: grace, containers } = pod();
    const before = containers[0].lifecycle.preStop.sleep.seconds;
    expect(grace * 1_000).toBeGreaterThan(
      before * 1_000 + shutdownTimeout + requestTimeout,
    );
  });

  it('asks the pods where the example of the health checks answers, without requests to the API server', () => {
    const [{ startupProbe, livenessProbe, readinessProbe }] = pod().containers;
    const { code } = findBlock('health');
    expect(code).toMatch(
      /@Controller\('health'\)[\s\S]*@Get\('live'\)[^@]*@HealthCheck\(\)\s+live\(\)[^}]*isAlive/,
    );
    for (const probe of [startupProbe, livenessProbe]) {
      expect(probe.httpGet?.path).toBe('/health/live');
    }
    expect(readinessProbe.httpGet).toBeUndefined();
  });

  it('grants its service account what the demo of sample 01 needs', async () => {
    const rules = objects.flatMap((object) => object.rules ?? []);
    const kubeConfig = await kubeConfigOf(
      'api',
      namespace,
      adminKubeConfig,
      rules,
    );
    const account = new KubeClient(kubeConfig.exportConfig());
    const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-'));
    try {
      const path = join(folder, 'kubeconfig');
      await writeFile(path, kubeConfig.exportConfig());
      const args = ['01-cron-jobs', '--cluster', '--seconds', '8'];
      await using program = startDemo(args, { KUBECONFIG: path });
      const output = await program.succeeds();
      expect(findMissing('01-cron-jobs', output)).toEqual([]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }

    const { body: schema } = await admin.request(
      'GET',
      `${FLOW_SCHEMAS}/locks.${namespace}`,
    );
    await eventually(async () => {
      const { status, headers } = await account.request(
        'GET',
        `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`,
      );
      expect(status).toBe(200);
      expect(headers[HEADER]).toBe(schema.metadata.uid);
    });
    expect(schema).toMatchObject({
      spec: { priorityLevelConfiguration: { name: `locks.${namespace}` } },
    });
  });
});

/** As `kubectl create --validate=strict` does. */
async function apply(object: Manifest): Promise<void> {
  const { apiVersion, kind, metadata } = object;
  const group = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`;
  const { body } = await admin.request<{
    resources: { kind: string; name: string; namespaced: boolean }[];
  }>('GET', group);
  const resource = body.resources.find(
    (each) => each.kind === kind && !each.name.includes('/'),
  )!;
  const place = resource.namespaced ? `/namespaces/${metadata.namespace}` : '';
  const answer = await admin.request(
    'POST',
    `${group}${place}/${resource.name}?fieldValidation=Strict`,
    object,
  );
  expect([kind, answer.status, answer.body]).toEqual([
    kind,
    201,
    expect.anything(),
  ]);
}
