/** The baseline: Leases over plain node:http(s) on kept-alive connections, with nothing around it. */
import http from 'node:http';
import https from 'node:https';
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { KubeConfig } from '@kubernetes/client-node';
import {
  monotonic,
  type Passed,
} from '../../verification/processes/programs/calls.js';

/** One Lease, which nobody else writes. It looks like that of a held lock. */
export class RawLease {
  /** As the last answer has it. */
  private lease: Passed;

  private constructor(
    private readonly transport: typeof http | typeof https,
    /** Of the Leases of the namespace. */
    private readonly url: string,
    private readonly options: https.RequestOptions,
    private readonly name: string,
  ) {}

  /** Prepares the connection; nothing is sent. */
  static async open(kubeConfigYaml: string, name: string): Promise<RawLease> {
    const config = new KubeConfig();
    config.loadFromString(kubeConfigYaml);
    const { server } = config.getCurrentCluster()!;
    const { namespace } = config.getContextObject(config.currentContext)!;
    const transport = server.startsWith('https:') ? https : http;
    const secured: https.RequestOptions = {};
    await config.applyToHTTPSOptions(secured);
    return new RawLease(
      transport,
      `${server}/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`,
      {
        headers: Object.assign({}, secured.headers, {
          'content-type': 'application/json',
        }),
        agent: new transport.Agent({
          keepAlive: true,
          ...(transport === https && { ca: secured.ca }),
        }),
      },
      name,
    );
  }

  /** Another Lease, over the same connections. */
  named(name: string): RawLease {
    return new RawLease(this.transport, this.url, this.options, name);
  }

  async create(): Promise<void> {
    const now = microTime();
    await this.write('POST', this.url, {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        name: this.name,
        labels: { 'app.kubernetes.io/managed-by': 'nestjs-k8s-lock' },
        annotations: { 'nestjs-k8s-lock/acquired-at': now },
      },
      spec: {
        holderIdentity: `${hostname()}_${randomUUID()}_${randomUUID()}`,
        leaseDurationSeconds: 15,
        acquireTime: now,
        renewTime: now,
        leaseTransitions: 0,
      },
    });
  }

  /** Writes the Lease once more, over what the last write has left. */
  async put(): Promise<void> {
    this.lease.spec.renewTime = microTime();
    await this.write('PUT', `${this.url}/${this.name}`, this.lease);
  }

  /** Watches the Lease, and calls back with the time of each event. Resolves when the watch is open. */
  async watch(onEvent: (at: number) => void): Promise<void> {
    const query = `watch=true&fieldSelector=metadata.name=${this.name}`;
    const response = await this.send('GET', `${this.url}?${query}`);
    createInterface({ input: response }).on('line', (line) => {
      JSON.parse(line);
      onEvent(monotonic());
    });
  }

  private async write(
    method: string,
    url: string,
    lease: unknown,
  ): Promise<void> {
    const response = await this.send(method, url, JSON.stringify(lease));
    const answer = await text(response);
    if (response.statusCode !== 200 && response.statusCode !== 201) {
      throw new Error(
        `${method} was answered ${response.statusCode}: ${answer}`,
      );
    }
    this.lease = JSON.parse(answer);
  }

  private send(
    method: string,
    url: string,
    body?: string,
  ): Promise<http.IncomingMessage> {
    return new Promise((resolve, reject) => {
      this.transport
        .request(url, { ...this.options, method }, resolve)
        .on('error', reject)
        .end(body);
    });
  }
}

function microTime(): string {
  return new Date().toISOString().replace('Z', '000Z');
}
