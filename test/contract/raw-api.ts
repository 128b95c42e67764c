/** Plain HTTP to an API server with the credentials of a kubeconfig: nothing between test and wire. */
import * as http from 'node:http';
import * as https from 'node:https';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { KubeConfig } from '@kubernetes/client-node';
import { onTestFinished } from 'vitest';
import type { ServerUnderTest } from '../api-servers.js';

/** Any JSON object that an API server answers: a Lease, a list, a Status. */
export interface Json {
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look at single fields of many shapes
  [field: string]: any;
}

export interface RawAnswer {
  code: number;
  headers: http.IncomingHttpHeaders;
  text: string;
  /** The body as JSON; an empty object when it is none. */
  body: Json;
}

export interface RawOptions {
  /** A string is sent as it is, everything else as JSON. */
  body?: unknown;
  /** Default `application/json`, where there is a body. */
  contentType?: string;
  headers?: Record<string, string>;
}

export interface WatchEvent {
  type: string;
  object: Json;
}

/** An open watch. */
export interface RawWatch {
  code: number;
  /** The next event; undefined when the server ended the watch. */
  next(): Promise<WatchEvent | undefined>;
}

export class RawApi {
  private readonly config = new KubeConfig();

  constructor(kubeConfigYaml: string) {
    this.config.loadFromString(kubeConfigYaml);
  }

  /** The path of the Leases of a namespace, or of one of them. */
  static leases(namespace: string, name?: string): string {
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
    return name === undefined ? path : `${path}/${name}`;
  }

  async request(
    method: string,
    path: string,
    options: RawOptions = {},
  ): Promise<RawAnswer> {
    const response = await this.send(method, path, options);
    const content = await text(response);
    const isJson = response.headers['content-type']?.includes('json') ?? false;
    return {
      code: response.statusCode ?? 0,
      headers: response.headers,
      text: content,
      body: isJson ? JSON.parse(content) : {},
    };
  }

  /** Opens a watch; it is closed when the test ends. */
  async watch(path: string): Promise<RawWatch> {
    const response = await this.send('GET', path, {});
    onTestFinished(() => {
      response.destroy();
    });
    const lines = createInterface({ input: response })[Symbol.asyncIterator]();
    return {
      code: response.statusCode ?? 0,
      next: async () => {
        const { value, done } = await lines.next();
        return done ? undefined : JSON.parse(value);
      },
    };
  }

  private async send(
    method: string,
    path: string,
    { body, contentType = 'application/json', headers }: RawOptions,
  ): Promise<http.IncomingMessage> {
    const options: https.RequestOptions = { method };
    await this.config.applyToHTTPSOptions(options);
    const url = new URL(path, this.config.getCurrentCluster()?.server);
    if (url.protocol === 'http:') {
      delete options.agent;
    }
    const { request } = url.protocol === 'http:' ? http : https;
    return new Promise((resolve, reject) => {
      const sent = request(url, options, resolve).on('error', reject);
      const content = typeof body === 'string' ? body : JSON.stringify(body);
      if (content !== undefined) {
        sent.setHeader('content-type', contentType);
        // Node sends the body of a DELETE without its length otherwise, where none will look for it.
        sent.setHeader('content-length', Buffer.byteLength(content));
      }
      for (const [field, value] of Object.entries(headers ?? {})) {
        sent.setHeader(field, value);
      }
      sent.end(content);
    });
  }
}

/** The Leases of a server under test, over the wire. */
export class RawLeases {
  private connected: RawApi | undefined;

  constructor(private readonly server: ServerUnderTest) {}

  get api(): RawApi {
    this.connected ??= new RawApi(this.server.kubeConfigYaml);
    return this.connected;
  }

  path(name?: string): string {
    return RawApi.leases(this.server.namespace, name);
  }

  /** Creates a Lease that must not exist yet. */
  async create(name: string, lease: Json = {}): Promise<Json> {
    const { metadata, spec = HELD } = lease;
    const body = { ...lease, metadata: { name, ...metadata }, spec };
    const { code, body: created, text: content } = await this.post(body);
    if (code !== 201) {
      throw new Error(`not created: ${content}`);
    }
    return created;
  }

  post(body: unknown, query = ''): Promise<RawAnswer> {
    return this.api.request('POST', this.path() + query, { body });
  }

  get(name: string): Promise<RawAnswer> {
    return this.api.request('GET', this.path(name));
  }

  put(name: string, body: Json, query = ''): Promise<RawAnswer> {
    return this.api.request('PUT', this.path(name) + query, { body });
  }

  patch(name: string, type: string, body: unknown): Promise<RawAnswer> {
    const contentType = `application/${type}+json`;
    return this.api.request('PATCH', this.path(name), { body, contentType });
  }

  delete(name: string, body?: Json): Promise<RawAnswer> {
    return this.api.request('DELETE', this.path(name), { body });
  }

  /** Watches one Lease by its name. */
  watch(name: string, query = ''): Promise<RawWatch> {
    return this.api.watch(
      `${this.path()}?watch=1&fieldSelector=metadata.name%3D${name}&${query}`,
    );
  }
}

/** The spec of a Lease that somebody holds. */
export const HELD = {
  holderIdentity: 'pod-a_1',
  leaseDurationSeconds: 15,
  acquireTime: '2026-01-02T03:04:05.000000Z',
  renewTime: '2026-01-02T03:04:05.678901Z',
  leaseTransitions: 3,
};

/** What a failed request is answered with. */
export const failure = (code: number, reason: string, details?: Json) => ({
  code,
  body: {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    reason,
    code,
    ...(details && { details }),
  },
});

/** The details of a failure that is about one Lease. */
export const aboutLease = (name: string) => ({
  name,
  group: 'coordination.k8s.io',
  kind: 'leases',
});

export const versionOf = (lease: Json) =>
  BigInt(lease['metadata'].resourceVersion);
