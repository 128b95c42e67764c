/** Sends plain requests to an API server as the user of a kubeconfig, for what tests prepare and check. */
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { request, type RequestOptions } from 'node:https';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';

/** An object of the Kubernetes API, or its answer that there is none (a Status). */
export interface KubeObject {
  metadata: {
    name: string;
    uid: string;
    resourceVersion: string;
    [field: string]: unknown;
  };
  [field: string]: unknown;
}

export interface KubeAnswer<T> {
  status: number;
  headers: IncomingHttpHeaders;
  body: T;
}

/** A rule of an RBAC Role. */
export interface PolicyRule {
  apiGroups: string[];
  resources: string[];
  resourceNames?: string[];
  verbs: string[];
}

const REQUEST_TIMEOUT = 10_000;
const GRANT_TIMEOUT = 10_000;

export class KubeClient {
  readonly #config = new KubeConfig();

  /** @param kubeConfig YAML */
  constructor(kubeConfig: string) {
    this.#config.loadFromString(kubeConfig);
  }

  /** Sends one request; any status is an answer. A body that is not JSON is a string. */
  async request<T = KubeObject>(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<KubeAnswer<T>> {
    const sent = body === undefined ? '' : JSON.stringify(body);
    const options: RequestOptions = {
      method,
      headers: {
        'content-type': 'application/json',
        // Without it, Node.js sends the body of a DELETE as if there were none.
        'content-length': Buffer.byteLength(sent),
      },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT),
    };
    await this.#config.applyToHTTPSOptions(options);
    const url = new URL(path, this.#config.getCurrentCluster()?.server);
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request(url, options, resolve).on('error', reject).end(sent);
    });
    const content = await text(response);
    const isJson = /json/.test(response.headers['content-type'] ?? '');
    const answer: T = isJson ? JSON.parse(content) : content;
    const { statusCode = 0, headers } = response;
    return { status: statusCode, headers, body: answer };
  }

  /** Creates a namespace and returns its name: by default one that nobody else uses. */
  async createNamespace(name = `test-${randomUUID()}`): Promise<string> {
    await this.#create('/api/v1/namespaces', { metadata: { name } });
    return name;
  }

  /** Gives a user the rights that the rules name, in a namespace, and waits until they hold. */
  async grant(
    namespace: string,
    user: string,
    rules: readonly [PolicyRule, ...PolicyRule[]],
  ): Promise<void> {
    const rbac = '/apis/rbac.authorization.k8s.io/v1';
    const name = `${user}-${randomUUID()}`;
    await this.#create(`${rbac}/namespaces/${namespace}/roles`, {
      metadata: { name },
      rules,
    });
    await this.#create(`${rbac}/namespaces/${namespace}/rolebindings`, {
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
      subjects: [
        { apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user },
      ],
    });
    const [rule] = rules;
    const access = {
      spec: {
        user,
        resourceAttributes: {
          namespace,
          group: rule.apiGroups[0],
          resource: rule.resources[0],
          name: rule.resourceNames?.[0],
          verb: rule.verbs[0],
        },
      },
    };
    // The authorizer follows the objects with a watch, a moment behind.
    const deadline = performance.now() + GRANT_TIMEOUT;
    while (!(await this.#isAllowed(access))) {
      if (performance.now() > deadline) {
        throw new Error(
          `the rights of ${user} in ${namespace} don't take hold`,
        );
      }
      await sleep(10);
    }
  }

  async #isAllowed(access: unknown): Promise<boolean> {
    const review = await this.#create<{ status: { allowed: boolean } }>(
      '/apis/authorization.k8s.io/v1/subjectaccessreviews',
      access,
    );
    return review.status.allowed;
  }

  async #create<T>(path: string, body: unknown): Promise<T> {
    const answer = await this.request<T>('POST', path, body);
    if (answer.status !== 201) {
      throw new Error(
        `POST ${path} was answered ${answer.status}: ${JSON.stringify(answer.body)}`,
      );
    }
    return answer.body;
  }
}
