/** The Kubernetes configuration is found where people expect it, and where there is none it says what to do. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  defaultNamespaceOf,
  KubeConfigurationError,
  loadKubeConfig,
} from '../../lib/kube/kube-config.js';
import type { KubeConfigLike } from '../../lib/k8s-lock.options.js';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { kubeConfigFor } from './stub-api.js';
import { eventually } from '../support/eventually.js';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'kube-config-'));
  // As on a machine that has nothing to do with Kubernetes.
  vi.stubEnv('HOME', root);
  for (const name of [
    'KUBECONFIG',
    'KUBERNETES_SERVICE_HOST',
    'KUBERNETES_SERVICE_PORT',
  ]) {
    vi.stubEnv(name, undefined);
  }
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(root, { recursive: true });
});

/** As the kubelet does it for a pod. */
async function becomePod({ namespace = 'jobs\n', host = '10.0.0.1' } = {}) {
  vi.stubEnv('KUBERNETES_SERVICE_HOST', host);
  vi.stubEnv('KUBERNETES_SERVICE_PORT', '443');
  const folder = join(root, 'var/run/secrets/kubernetes.io/serviceaccount');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'token'), 'pod-token');
  await writeFile(join(folder, 'ca.crt'), 'certificate');
  await writeFile(join(folder, 'namespace'), namespace);
  return folder;
}

async function writeKubeconfig(
  path: string,
  server = 'https://local.test:6443',
  namespace = 'local',
): Promise<string> {
  const context = { cluster: 'c', user: 'u', namespace };
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(
    path,
    JSON.stringify({
      clusters: [{ name: 'c', cluster: { server } }],
      users: [{ name: 'u', user: { token: 'local-token' } }],
      contexts: [{ name: 'x', context }],
      'current-context': 'x',
    }),
  );
  return path;
}

const serverOf = (config: KubeConfigLike) => config.getCurrentCluster()?.server;

async function messageOf(loading: Promise<unknown>): Promise<string> {
  const error: unknown = await loading.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(KubeConfigurationError);
  return String(error);
}

describe('without an instruction', () => {
  it("the pod's own configuration is found, before any other", async () => {
    await becomePod();
    await writeKubeconfig(join(root, '.kube/config'));
    const config = await loadKubeConfig({}, root);
    expect(serverOf(config)).toBe('https://10.0.0.1:443');
    expect(defaultNamespaceOf(config, root)).toBe('jobs');
  });

  it('the file that KUBECONFIG names is found', async () => {
    const path = await writeKubeconfig(join(root, 'elsewhere'));
    vi.stubEnv('KUBECONFIG', path);
    const config = await loadKubeConfig({}, root);
    expect(serverOf(config)).toBe('https://local.test:6443');
    expect(defaultNamespaceOf(config, root)).toBe('local');
  });

  it('the file in the home directory is found', async () => {
    await writeKubeconfig(join(root, '.kube/config'));
    expect(serverOf(await loadKubeConfig({}, root))).toBe(
      'https://local.test:6443',
    );
  });

  it('nothing is found, and what was looked for is said', async () => {
    const message = await messageOf(loadKubeConfig({}, root));
    expect(message).toContain('KUBERNETES_SERVICE_HOST');
    expect(message).toContain('KUBECONFIG (not set) and ~/.kube/config');
    expect(message).toContain('pass `kubeConfig`');
    expect(message).not.toContain('localhost');
  });

  it('a pod without a service account is not in-cluster', async () => {
    const folder = await becomePod();
    await rm(join(folder, 'token'));
    expect(await messageOf(loadKubeConfig({}, root))).toContain(
      'serviceaccount/token',
    );
  });
});

describe('inCluster: true', () => {
  it("takes the pod's own configuration, with an IPv6 address too", async () => {
    await becomePod({ host: 'fd00::1' });
    const config = await loadKubeConfig({ inCluster: true }, root);
    expect(serverOf(config)).toBe('https://[fd00::1]:443');
  });

  it('takes no other', async () => {
    await writeKubeconfig(join(root, '.kube/config'));
    const message = await messageOf(loadKubeConfig({ inCluster: true }, root));
    expect(message).toContain('KUBERNETES_SERVICE_HOST');
    expect(message).toContain('serviceaccount/token');
  });
});

describe('inCluster: false', () => {
  it('takes the local kubeconfig in a pod too', async () => {
    await becomePod();
    await writeKubeconfig(join(root, '.kube/config'));
    const config = await loadKubeConfig({ inCluster: false }, root);
    expect(serverOf(config)).toBe('https://local.test:6443');
  });

  it('takes no other', async () => {
    await becomePod();
    const message = await messageOf(loadKubeConfig({ inCluster: false }, root));
    expect(message).toContain('~/.kube/config');
    expect(message).not.toContain('KUBERNETES_SERVICE_HOST');
  });
});

describe('a kubeconfig that is of no use', () => {
  it('since it is missing is named', async () => {
    vi.stubEnv('KUBECONFIG', join(root, 'missing'));
    const message = await messageOf(loadKubeConfig({}, root));
    expect(message).toContain(join(root, 'missing'));
    expect(message).toContain('ENOENT');
  });

  it('since it is no YAML is named, and not quoted', async () => {
    const path = join(root, 'broken');
    await writeFile(path, 'users:\n- user: {token: "secret"\n  - x: }\n');
    vi.stubEnv('KUBECONFIG', path);
    const message = await messageOf(loadKubeConfig({}, root));
    expect(message).toContain(path);
    expect(message).not.toContain('secret');
    expect(message).not.toContain('\n');
  });

  it('since it is empty is named', async () => {
    const path = join(root, 'empty');
    await writeFile(path, '');
    vi.stubEnv('KUBECONFIG', path);
    expect(await messageOf(loadKubeConfig({}, root))).toContain(path);
  });

  it('since it has no current context is said so', async () => {
    const path = join(root, 'contextless');
    await writeFile(path, 'clusters: []');
    vi.stubEnv('KUBECONFIG', path);
    expect(await messageOf(loadKubeConfig({}, root))).toContain(
      'kubectl config use-context',
    );
  });

  it.each([
    ['http://plain.test', 'insecure-skip-tls-verify'],
    ['not a URL', 'not an http or https URL'],
    ['ftp://user:secret@host', 'not an http or https URL'],
  ])('since its address is %j is said so', async (server, said) => {
    const kubeConfig = kubeConfigFor(server);
    const message = await messageOf(loadKubeConfig({ kubeConfig }));
    expect(message).toContain(said);
    expect(message).not.toContain('secret');
  });
});

describe('kubeConfig', () => {
  it('is taken as it is', async () => {
    const given = kubeConfigFor('https://given.test');
    expect(await loadKubeConfig({ kubeConfig: given })).toBe(given);
  });

  it('may be of another copy of client-node', async () => {
    const original = kubeConfigFor('https://given.test');
    const given: KubeConfigLike = {
      applyToHTTPSOptions: (options) => original.applyToHTTPSOptions(options),
      getCurrentCluster: () => original.getCurrentCluster(),
      getCurrentContext: () => original.getCurrentContext(),
      getContextObject: (name) => original.getContextObject(name),
    };
    expect(given).not.toBeInstanceOf(KubeConfig);
    expect(await loadKubeConfig({ kubeConfig: given })).toBe(given);
  });

  it.each([{}, null, 'a path', { applytoHTTPSOptions() {} }])(
    'that is none is refused: %j',
    async (given) => {
      // @ts-expect-error: what a user in JavaScript may pass
      expect(await messageOf(loadKubeConfig({ kubeConfig: given }))).toContain(
        'not a KubeConfig',
      );
    },
  );
});

describe('the default namespace', () => {
  it('is `default` where nothing names one', () => {
    expect(defaultNamespaceOf(kubeConfigFor('https://given.test'), root)).toBe(
      'default',
    );
  });

  it("is the pod's own where a given configuration leads to its cluster, and only there", async () => {
    await becomePod();
    for (const [server, namespace] of [
      ['https://10.0.0.1:443', 'jobs'],
      ['https://kubernetes.default.svc', 'jobs'],
      ['https://kubernetes.default.svc.cluster.local', 'jobs'],
      ['https://another.test', 'default'],
    ] as const) {
      expect(defaultNamespaceOf(kubeConfigFor(server), root)).toBe(namespace);
    }
  });
});

describe('the store', () => {
  it('loads client-node only when it looks for a configuration itself', async () => {
    let loaded = 0;
    vi.resetModules();
    vi.doMock('@kubernetes/client-node', () => {
      loaded++;
      return { KubeConfig };
    });
    const { KubernetesLeaseStore: Store } =
      await import('../../lib/kube/kubernetes-lease-store.js');
    const given = new Store({
      kubeConfig: kubeConfigFor('https://given.test'),
      requestTimeout: 1_000,
    });
    expect(await given.defaultNamespace()).toBe('default');
    expect(loaded).toBe(0);

    await writeKubeconfig(join(root, '.kube/config'));
    const found = new Store({ inCluster: false, requestTimeout: 1_000 });
    expect(loaded).toBe(0);
    expect(await found.defaultNamespace()).toBe('local');
    expect(loaded).toBe(1);
    vi.doUnmock('@kubernetes/client-node');
  });

  it('fails each call without a configuration, and goes on once there is one', async () => {
    const store = new KubernetesLeaseStore({
      inCluster: false,
      requestTimeout: 5_000,
    });
    const failures: Error[] = [];
    const watching = new KubernetesLeaseStore({
      inCluster: false,
      requestTimeout: 5_000,
      watch: { backoff: 10, backoffLimit: 10 },
    });
    const key = { namespace: 'default', name: 'a' };
    watching.watch(key, {
      changed: () => {},
      deleted: () => {},
      failed: (error) => failures.push(error),
    });
    await messageOf(store.get(key));
    await messageOf(store.defaultNamespace());
    await eventually(() => expect(failures.length).toBeGreaterThan(1));
    expect(failures[0]).toBeInstanceOf(KubeConfigurationError);
    watching.close();

    await writeKubeconfig(join(root, '.kube/config'));
    expect(await store.defaultNamespace()).toBe('local');
    store.close();
  });
});
