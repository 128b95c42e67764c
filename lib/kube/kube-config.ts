/** Finds the Kubernetes configuration: the one given, the pod's own, or the local kubeconfig. */
import { existsSync, readFileSync } from 'node:fs';
import type { KubeConfigLike } from '../k8s-lock.options.js';
import { isError } from '../lock.errors.js';
import { quote } from '../printable.js';
import { codeOf } from './http-request.js';

/** The sources of the configuration. */
export interface KubeConfigSource {
  /** The configuration; if absent, it is searched for. */
  readonly kubeConfig?: KubeConfigLike;
  /** true: only the pod's service account. false: only the local kubeconfig. Absent: the first, else the second. */
  readonly inCluster?: boolean;
  /** The kubeconfig to read, instead of one that is searched for. */
  readonly file?: string;
  /** The context to use, instead of the current one; then the pod's own configuration is left out. */
  readonly context?: string;
}

/** There is no usable Kubernetes configuration; the message says what to do. */
export class KubeConfigurationError extends Error {
  override readonly name = 'KubeConfigurationError';
}

const METHODS: readonly (keyof KubeConfigLike)[] = [
  'applyToHTTPSOptions',
  'getContextObject',
  'getCurrentCluster',
  'getCurrentContext',
];
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const HOW_TO_CONFIGURE =
  'Run in a pod with a mounted service account, provide a kubeconfig (KUBECONFIG or ~/.kube/config), or pass `kubeConfig`.';

/**
 * Finds the configuration. Tests pass `root`, which is put before the paths of the service account's
 * files.
 */
export async function loadKubeConfig(
  source: KubeConfigSource,
  root = '',
): Promise<KubeConfigLike> {
  const config = await (source.kubeConfig === undefined
    ? discover(source, root)
    : given(source.kubeConfig));
  checkCluster(config);
  return config;
}

/** The namespace of the context, else the pod's namespace if the cluster is the pod's, else `default`. */
export function defaultNamespaceOf(config: KubeConfigLike, root = ''): string {
  const context = config.getContextObject(config.getCurrentContext());
  return (
    context?.namespace?.trim() ||
    (isPodsCluster(config) && readNamespaceFile(root)) ||
    'default'
  );
}

function given(config: KubeConfigLike): KubeConfigLike {
  // Not by instanceof: the package may be installed twice.
  if (!METHODS.every((method) => typeof config?.[method] === 'function')) {
    throw new KubeConfigurationError(
      '`kubeConfig` is not a KubeConfig. Pass an instance of KubeConfig of @kubernetes/client-node ^1.4 or ^2.',
    );
  }
  return config;
}

async function discover(
  source: KubeConfigSource,
  root: string,
): Promise<KubeConfigLike> {
  const { file, context } = source;
  const isLocal = file !== undefined || context !== undefined;
  const inCluster = isLocal ? false : source.inCluster;
  const missing = missingInCluster(root);
  if (inCluster === true && missing.length > 0) {
    throw new KubeConfigurationError(
      `\`inCluster\` is true, but this process does not run in a pod with a service account: ${missing.join(', ')} missing. Leave \`inCluster\` out to use a local kubeconfig too.`,
    );
  }

  const { KubeConfig } = await loadClientNode();
  const config = new KubeConfig();
  if (inCluster !== false && missing.length === 0) {
    config.loadFromCluster(root);
    return config;
  }

  const searched = process.env.KUBECONFIG
    ? `KUBECONFIG (${process.env.KUBECONFIG})`
    : 'KUBECONFIG (not set) and ~/.kube/config';
  const lookedFor = file ?? searched;
  try {
    if (file === undefined) {
      config.loadFromDefault();
    } else {
      config.loadFromFile(file);
    }
  } catch (error) {
    throw new KubeConfigurationError(
      `The local kubeconfig can't be read${reasonOf(error)}. Looked for ${lookedFor}.`,
    );
  }
  if (isFallback(config)) {
    throw new KubeConfigurationError(
      `No Kubernetes configuration was found. Looked for ${
        inCluster === false
          ? ''
          : `the pod's own (${missing.join(', ')} missing), `
      }${lookedFor}. ${HOW_TO_CONFIGURE}`,
    );
  }
  if (context !== undefined) {
    const names = config.getContexts().map(({ name }) => name);
    if (!names.includes(context)) {
      throw new KubeConfigurationError(
        `The kubeconfig has no context ${quote(context)}; it has ${names.map(quote).join(', ') || 'none'}.`,
      );
    }
    config.setCurrentContext(context);
  }
  return config;
}

/** Imported on first use: the package takes half a second and 75 MB to load. */
async function loadClientNode(): Promise<
  typeof import('@kubernetes/client-node')
> {
  refuseClientNode2();
  try {
    // oxlint-disable-next-line no-restricted-imports -- the one place that loads it
    return await import('@kubernetes/client-node');
  } catch (error) {
    if (codeOf(error) === 'ERR_VM_DYNAMIC_IMPORT_CALLBACK_MISSING_FLAG') {
      throw new KubeConfigurationError(
        'Jest cannot load @kubernetes/client-node, which reads the kubeconfig, because it is an ES module. In tests pass `kubeConfig`, for instance from LeaseApiServer of nestjs-k8s-lock/testing; or run Jest with NODE_OPTIONS=--experimental-vm-modules.',
      );
    }
    throw new KubeConfigurationError(
      `@kubernetes/client-node can't be loaded${reasonOf(error)}. Install it: npm install @kubernetes/client-node`,
    );
  }
}

/** Version 2 crashes an older Node.js when it is loaded, with an error that cannot be caught. */
function refuseClientNode2(): void {
  if (Number.parseInt(process.versions.node) >= 22) {
    return;
  }
  let manifest: { version: string };
  try {
    manifest = require('@kubernetes/client-node/package.json');
  } catch {
    return; // Not installed: the import reports it.
  }
  const { version } = manifest;
  if (Number.parseInt(version) >= 2) {
    throw new KubeConfigurationError(
      `@kubernetes/client-node ${version} needs Node.js 22 or newer, but this is Node.js ${process.versions.node}. Use a newer Node.js, or run npm install @kubernetes/client-node@1.`,
    );
  }
}

/** The variables and files of an in-cluster configuration that are missing. */
function missingInCluster(root: string): string[] {
  const variables = [
    'KUBERNETES_SERVICE_HOST',
    'KUBERNETES_SERVICE_PORT',
  ].filter((name) => !process.env[name]);
  const files = ['token', 'ca.crt']
    .map((name) => `${root}${SERVICE_ACCOUNT}/${name}`)
    .filter((path) => !existsSync(path));
  return [...variables, ...files];
}

/** loadFromDefault falls back to the pod's service account and to localhost:8080; neither was configured. */
function isFallback(config: KubeConfigLike): boolean {
  const context = config.getCurrentContext();
  return (
    context === 'inClusterContext' ||
    (context === 'loaded-context' &&
      config.getCurrentCluster()?.server === 'http://localhost:8080')
  );
}

function checkCluster(config: KubeConfigLike): void {
  const cluster = config.getCurrentCluster();
  if (!cluster) {
    throw new KubeConfigurationError(
      'The Kubernetes configuration names no cluster: its current context is not set, or points to a cluster that it does not contain. Set it with `kubectl config use-context`, or with setCurrentContext().',
    );
  }
  let protocol: string | undefined;
  try {
    protocol = new URL(cluster.server).protocol;
  } catch {
    // Reported below.
  }
  if (protocol !== 'https:' && protocol !== 'http:') {
    throw new KubeConfigurationError(
      'The address of the cluster in the Kubernetes configuration is not an http or https URL.',
    );
  }
  // client-node has the same rule, but reports it only when the first request is sent.
  if (protocol === 'http:' && !cluster.skipTLSVerify && !cluster.proxyUrl) {
    throw new KubeConfigurationError(
      'The address of the cluster in the Kubernetes configuration is plain http, which is refused unless `insecure-skip-tls-verify: true` (skipTLSVerify) is set for it.',
    );
  }
}

function isPodsCluster(config: KubeConfigLike): boolean {
  const server = config.getCurrentCluster()?.server;
  const podsHost = process.env.KUBERNETES_SERVICE_HOST;
  if (!server || !podsHost) {
    return false;
  }
  const { hostname } = new URL(server);
  return (
    hostname === podsHost ||
    hostname === `[${podsHost}]` ||
    /^kubernetes\.default(\.svc(\..+)?)?$/.test(hostname)
  );
}

function readNamespaceFile(root: string): string | undefined {
  try {
    return readFileSync(`${root}${SERVICE_ACCOUNT}/namespace`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/**
 * The part of an error that is safe to show: the first line. On the following lines a YAML parser
 * quotes the text around the fault, which in a kubeconfig may hold credentials.
 */
function reasonOf(error: unknown): string {
  if (!isError(error)) {
    return '';
  }
  const line = error.message.split(/[\r\n]/, 1)[0]?.slice(0, 200);
  return line ? `: ${line.replace(/[^\x20-\x7e]/g, '?')}` : '';
}
