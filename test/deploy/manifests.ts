/** Applies the manifests of `deploy/` to an API server, and starts pods under the service account that they make. */
import { readFileSync } from 'node:fs';
import { KubeConfig, loadAllYaml } from '@kubernetes/client-node';
import { Test } from '@nestjs/testing';
import type { ModuleMetadata } from '@nestjs/common';
import { inject } from 'vitest';
import {
  K8sLockModule,
  LockService,
  type K8sLockModuleOptions,
  type KubeConfigLike,
} from '../../lib/index.js';
import { LeaseApiServer, type Access } from '../../lib/testing/index.js';
import { WarningLog } from '../decorators/lock-app.js';
import { KubeClient, type PolicyRule } from '../kube-client.js';
import { eventually } from '../support/eventually.js';

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly rules?: PolicyRule[];
}

/** An API server with what the manifests make. */
export interface Cluster extends AsyncDisposable {
  /** The namespace of all of it. */
  readonly namespace: string;
  /** A pod that starts only if the rights that it asks for are granted. */
  startPod(
    options?: K8sLockModuleOptions,
    metadata?: ModuleMetadata,
  ): Promise<Pod>;
}

export interface Pod {
  readonly locks: LockService;
  /** What it has logged as warnings. */
  readonly warnings: readonly string[];
  get<T>(type: new (...args: never[]) => T): T;
}

/** The namespace in the manifests, and the name of the service account. */
export const NAMESPACE = 'jobs';
const ACCOUNT = 'api';

/** @param name of a file in `deploy/`, without its end */
export function readManifests(name: string): Manifest[] {
  const file = new URL(`../../deploy/${name}.yaml`, import.meta.url);
  return loadAllYaml(readFileSync(file, 'utf8'));
}

/** The manifests with the rules changed. */
export function changeRules(
  manifests: readonly Manifest[],
  change: (rules: PolicyRule[]) => PolicyRule[],
): Manifest[] {
  return manifests.map((manifest) =>
    manifest.rules === undefined
      ? manifest
      : { ...manifest, rules: change(manifest.rules) },
  );
}

/** Applies them to the real API server where the verification provides one, else to the embedded one. */
export function apply(manifests: readonly Manifest[]): Promise<Cluster> {
  const real = inject('kubeApiserver');
  return real
    ? applyTo(real.kubeConfig, manifests)
    : applyToEmbedded(manifests);
}

/** The embedded API server knows Leases only: of the rest, the rules of Roles are what counts. */
async function applyToEmbedded(
  manifests: readonly Manifest[],
): Promise<Cluster> {
  const rules = manifests.flatMap((manifest) => manifest.rules ?? []);
  const server = await LeaseApiServer.start({
    allow: (access) =>
      access.user === 'admin' ||
      access.resource === 'selfsubjectaccessreviews' ||
      (access.namespace === NAMESPACE &&
        rules.some((rule) => covers(rule, access))),
  });
  for (const manifest of manifests) {
    if (manifest.kind === 'Lease') {
      const answer = await fetch(new URL(pathOf(manifest), server.url), {
        method: 'POST',
        headers: {
          authorization: 'Bearer admin',
          'content-type': 'application/json',
        },
        body: JSON.stringify(manifest),
      });
      if (answer.status !== 201) {
        throw new Error(await answer.text());
      }
    }
  }
  const kubeConfig = await server.kubeConfig({
    namespace: NAMESPACE,
    user: ACCOUNT,
  });
  return runPods(kubeConfig, NAMESPACE, () => server.stop());
}

export async function applyTo(
  adminKubeConfig: string,
  manifests: readonly Manifest[],
): Promise<Cluster> {
  const applied = await applyFor(ACCOUNT, adminKubeConfig, manifests);
  const { namespace, kubeConfig, remove } = applied;
  return runPods(kubeConfig, namespace, remove);
}

/**
 * Applies them as the user of this kubeconfig (YAML), who may do everything, in a namespace of their
 * own, which they are changed to.
 *
 * @returns the configuration of a service account that they make, when its rights have taken hold
 */
export async function applyFor(
  account: string,
  adminKubeConfig: string,
  manifests: readonly Manifest[],
): Promise<{
  namespace: string;
  kubeConfig: KubeConfig;
  remove: () => Promise<void>;
}> {
  const admin = new KubeClient(adminKubeConfig);
  const namespace = await admin.createNamespace();
  const moved: Manifest[] = JSON.parse(
    JSON.stringify(manifests).replaceAll(`"${NAMESPACE}"`, `"${namespace}"`),
  );
  for (const manifest of moved) {
    await created(admin, pathOf(manifest), manifest);
  }
  const rules = moved.flatMap((manifest) => manifest.rules ?? []);
  return {
    namespace,
    kubeConfig: await kubeConfigOf(account, namespace, adminKubeConfig, rules),
    remove: async () => {
      await admin.request('DELETE', `/api/v1/namespaces/${namespace}`);
    },
  };
}

/** The configuration of a service account, when these rights of it have taken hold. */
export async function kubeConfigOf(
  account: string,
  namespace: string,
  adminKubeConfig: string,
  rules: readonly PolicyRule[],
): Promise<KubeConfig> {
  const { status } = await created<{ status: { token: string } }>(
    new KubeClient(adminKubeConfig),
    `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`,
    { spec: {} },
  );
  const cluster = new KubeConfig();
  cluster.loadFromString(adminKubeConfig);
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromOptions({
    clusters: [{ ...cluster.getCurrentCluster(), name: 'cluster' }],
    users: [{ name: account, token: status.token }],
    contexts: [
      { name: 'context', cluster: 'cluster', user: account, namespace },
    ],
    currentContext: 'context',
  });
  await granted(new KubeClient(kubeConfig.exportConfig()), namespace, rules);
  return kubeConfig;
}

function runPods(
  kubeConfig: KubeConfigLike,
  namespace: string,
  stop: () => Promise<void>,
): Cluster {
  const closing: (() => Promise<void>)[] = [];
  return {
    namespace,
    startPod: async (options, metadata) => {
      const log = new WarningLog();
      const pod = await Test.createTestingModule({
        ...metadata,
        imports: [
          K8sLockModule.forRoot({
            kubeConfig,
            verifyAtStartup: 'require',
            shutdownTimeout: 0,
            ...options,
          }),
        ],
      })
        .setLogger(log)
        .compile();
      closing.push(() => pod.close());
      await pod.init();
      return {
        locks: pod.get(LockService),
        warnings: log.warnings,
        get: (type) => pod.get(type),
      };
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(closing.map((close) => close()));
      await stop();
    },
  };
}

function pathOf({ apiVersion, kind, metadata }: Manifest): string {
  const group = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`;
  return `${group}/namespaces/${metadata.namespace}/${kind.toLowerCase()}s`;
}

async function created<T>(
  client: KubeClient,
  path: string,
  body: object,
): Promise<T> {
  const answer = await client.request<T>('POST', path, body);
  if (answer.status !== 201) {
    throw new Error(`${path}: ${JSON.stringify(answer.body)}`);
  }
  return answer.body;
}

/** The authorizer follows Roles and RoleBindings a moment behind. */
async function granted(
  account: KubeClient,
  namespace: string,
  rules: readonly PolicyRule[],
): Promise<void> {
  for (const { apiGroups, resources, resourceNames, verbs } of rules) {
    await eventually(async () => {
      const review = await created<{ status: { allowed: boolean } }>(
        account,
        '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
        {
          spec: {
            resourceAttributes: {
              namespace,
              group: apiGroups[0],
              resource: resources[0],
              name: resourceNames?.[0],
              verb: verbs[0],
            },
          },
        },
      );
      if (!review.status.allowed) {
        throw new Error(`the right to ${verbs[0]} does not take hold`);
      }
    });
  }
}

/** What RBAC does with a rule. */
export function covers(rule: PolicyRule, access: Access): boolean {
  return (
    rule.apiGroups.includes(access.group) &&
    rule.resources.includes(access.resource) &&
    rule.verbs.includes(access.verb) &&
    (rule.resourceNames === undefined ||
      rule.resourceNames.includes(access.name ?? ''))
  );
}
