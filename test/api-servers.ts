/** Runs a suite on the real API server where the verification provides one, else on the embedded one. */
import { randomUUID } from 'node:crypto';
import { KubeConfig } from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, inject } from 'vitest';
import {
  LeaseApiServer,
  type Access,
  type LeaseApiServerOptions,
  type NamespacePhase,
} from '../lib/testing/index.js';
import { KubeClient, type PolicyRule } from './kube-client.js';

/** What a test file gets from `inject('kubeApiserver')` when it is run by `npm run verify`. */
export interface ProvidedKubeApiserver {
  /** Kubeconfig (YAML) of a user who may do everything. */
  kubeConfig: string;
  /** Kubeconfig (YAML) of the user `restricted`, who has no rights but those a test grants. */
  restrictedKubeConfig: string;
  /** Kubeconfig (YAML) of a user who may do everything, by client certificate. */
  clientCertificateKubeConfig: string;
}

declare module 'vitest' {
  export interface ProvidedContext {
    kubeApiserver?: ProvidedKubeApiserver;
  }
}

/** Users that the embedded server knows, with what the real one gives them: everything, and nothing. */
const ADMIN = 'admin';
const RESTRICTED = 'restricted';

/** The API server that a suite runs on. Complete once the suite's own hooks and tests run. */
export interface ServerUnderTest {
  readonly kind: 'embedded' | 'real';
  /** A namespace that nobody else uses. */
  readonly namespace: string;
  /** Kubeconfig of a user who may do everything; its context names the namespace. */
  readonly kubeConfigYaml: string;
  /** The same, loaded. */
  readonly kubeConfig: KubeConfig;
  /** Kubeconfig of a user who may do nothing. */
  readonly restrictedKubeConfigYaml: string;
  /** Gives that user rights in the namespace. */
  grant(...rules: [PolicyRule, ...PolicyRule[]]): Promise<void>;
  /** The server itself, when it is the embedded one. */
  readonly embedded: LeaseApiServer | undefined;
  /** Another namespace that nobody else uses. */
  createNamespace(): Promise<string>;
  /** Makes a namespace terminate; it never gets so far. */
  terminateNamespace(namespace: string): Promise<void>;
}

interface Backend {
  readonly embedded?: LeaseApiServer;
  kubeConfigYaml(namespace: string): string;
  readonly restrictedKubeConfigYaml: string;
  grant(namespace: string, rules: [PolicyRule, ...PolicyRule[]]): Promise<void>;
  createNamespace(): Promise<string>;
  terminateNamespace(namespace: string): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Describes what holds on every API server.
 *
 * @example
 * describeOnServer('KubernetesLeaseStore', (server) => {
 *   it('reads what it wrote', async () => {
 *     const store = new KubernetesLeaseStore(server.kubeConfig);
 *     await store.create({ namespace: server.namespace, name: 'a' }, lease);
 *   });
 * });
 */
export function describeOnServer(
  name: string,
  suite: (server: ServerUnderTest) => void,
  options: LeaseApiServerOptions = {},
): void {
  const real = inject('kubeApiserver');
  if (real) {
    describeOnReal(name, suite, real);
  } else {
    describeOnEmbedded(name, suite, options);
  }
}

function describeOnEmbedded(
  name: string,
  suite: (server: ServerUnderTest) => void,
  options: LeaseApiServerOptions = {},
): void {
  describe(`${name} (embedded API server)`, () => {
    suite(serverFor('embedded', () => startEmbedded(options)));
  });
}

function describeOnReal(
  name: string,
  suite: (server: ServerUnderTest) => void,
  real: ProvidedKubeApiserver,
): void {
  describe(`${name} (real API server)`, () => {
    suite(serverFor('real', () => connectReal(real)));
  });
}

/** Starts the server before the suite's tests and stops it after them. */
function serverFor(
  kind: ServerUnderTest['kind'],
  start: () => Promise<Backend>,
): ServerUnderTest {
  let ready: { backend: Backend; namespace: string } | undefined;
  const started = () => {
    if (ready) {
      return ready;
    }
    throw new Error('the server is there for hooks and tests only');
  };
  beforeAll(async () => {
    const backend = await start();
    ready = { backend, namespace: await backend.createNamespace() };
  });
  afterAll(() => ready?.backend.stop());
  return {
    kind,
    get namespace() {
      return started().namespace;
    },
    get kubeConfigYaml() {
      const { backend, namespace } = started();
      return backend.kubeConfigYaml(namespace);
    },
    get kubeConfig() {
      const config = new KubeConfig();
      config.loadFromString(this.kubeConfigYaml);
      return config;
    },
    get restrictedKubeConfigYaml() {
      return started().backend.restrictedKubeConfigYaml;
    },
    grant: (...rules) => {
      const { backend, namespace } = started();
      return backend.grant(namespace, rules);
    },
    get embedded() {
      return started().backend.embedded;
    },
    createNamespace: () => started().backend.createNamespace(),
    terminateNamespace: (namespace) =>
      started().backend.terminateNamespace(namespace),
  };
}

/** What the rule of a Role allows. */
const allows = (rule: PolicyRule, { group, resource, verb, name }: Access) =>
  rule.apiGroups.includes(group) &&
  rule.resources.includes(resource) &&
  rule.verbs.includes(verb) &&
  (rule.resourceNames?.includes(name ?? '') ?? true);

async function startEmbedded(options: LeaseApiServerOptions): Promise<Backend> {
  const namespaces = new Map<string, NamespacePhase>();
  const granted: { namespace: string; rule: PolicyRule }[] = [];
  const embedded = await LeaseApiServer.start({
    namespaces,
    tokens: { 'admin-token': ADMIN, 'restricted-token': RESTRICTED },
    allow: (access) =>
      access.user === ADMIN ||
      access.resource === 'selfsubjectaccessreviews' ||
      granted.some(
        ({ namespace, rule }) =>
          access.namespace === namespace && allows(rule, access),
      ),
    ...options,
  });
  return {
    embedded,
    kubeConfigYaml: (namespace) =>
      embedded.kubeConfigYaml({ namespace, user: ADMIN }),
    restrictedKubeConfigYaml: embedded.kubeConfigYaml({ user: RESTRICTED }),
    grant: (namespace, rules) => {
      granted.push(...rules.map((rule) => ({ namespace, rule })));
      return Promise.resolve();
    },
    createNamespace: () => {
      const name = `test-${randomUUID()}`;
      namespaces.set(name, 'Active');
      return Promise.resolve(name);
    },
    terminateNamespace: (name) => {
      namespaces.set(name, 'Terminating');
      return Promise.resolve();
    },
    stop: () => embedded.stop(),
  };
}

function connectReal(real: ProvidedKubeApiserver): Promise<Backend> {
  const client = new KubeClient(real.kubeConfig);
  return Promise.resolve({
    kubeConfigYaml: (namespace) => {
      const config = new KubeConfig();
      config.loadFromString(real.kubeConfig);
      const current = config.currentContext;
      config.contexts = config.contexts.map((context) =>
        context.name === current ? { ...context, namespace } : context,
      );
      return config.exportConfig();
    },
    restrictedKubeConfigYaml: real.restrictedKubeConfig,
    grant: (namespace, rules) => client.grant(namespace, RESTRICTED, rules),
    createNamespace: () => client.createNamespace(),
    terminateNamespace: async (name) => {
      await client.request('DELETE', `/api/v1/namespaces/${name}`);
    },
    stop: () => Promise.resolve(),
  });
}
