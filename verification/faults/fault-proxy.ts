/**
 * Stands between each process and the API server: passes requests on, disturbs them as it is told,
 * and keeps what it sees of writes. It knows of each when it was sent on and when it was answered,
 * so that no answer that a process does not get is lost to the checker.
 */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Agent, createServer, request, type Server } from 'node:https';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { createAuthority } from '../../test/kube/certificates.js';
import type { Random } from '../simulation/random.js';
import type { LeaseWrite } from './evidence.js';
import { FaultLink, portOf } from './fault-link.js';
import { isWrite, startWrite } from './lease-write.js';

/** How a process's requests are disturbed, beyond its link. */
export interface Disturbance {
  /** Of the requests that are not watches, one in two is refused with one of these. */
  refusals?: { readonly statuses: readonly number[]; readonly after: boolean };
  /** Of the answers, one in two breaks off in the middle. */
  cutsAnswers?: boolean;
  /** Of the writes, one in two is sent on after so many milliseconds, whether its sender still waits or not. */
  delaysWrites?: readonly [least: number, most: number];
  /** Of the answers to PATCH, one in two never comes. */
  losesPatches?: boolean;
  /** Watches end after a second. */
  cutsWatches?: boolean;
}

/** What a process speaks to. */
export interface Endpoint {
  readonly process: string;
  readonly link: FaultLink;
  readonly disturbance: Disturbance;
  /** A kubeconfig (YAML) that leads to it. */
  readonly kubeConfigYaml: string;
}

export interface Upstream {
  /** URL; it may come and go. */
  readonly server: string;
  readonly caData: string;
  readonly token: string;
  readonly namespace: string;
}

const WATCH_LIFE = 1_000;
/** Milliseconds in which half an answer gets through. */
const TIME_TO_ARRIVE = 10;
/** Longer than clients keep connections that they don't use. */
const KEEP_ALIVE = 120_000;
/** As a status: there was no connection to the API server. */
const NEVER_SENT = 502;
const REASONS: Record<number, string> = {
  403: 'Forbidden',
  409: 'Conflict',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
};

export class FaultProxy implements AsyncDisposable {
  /** Every request to change a Lease, in the order in which they were sent on. */
  readonly writes: LeaseWrite[] = [];
  private readonly authority = createAuthority('fault proxy');
  private readonly server: Server;
  private readonly agent: Agent;
  /** By the port from which a connection of theirs comes. */
  private readonly origins = new Map<number, Endpoint>();
  private readonly endpoints: Endpoint[] = [];
  private readonly listeners = new Set<(write: LeaseWrite) => void>();

  private constructor(
    private readonly upstream: Upstream,
    private readonly random: Random,
  ) {
    const { certificate: cert, key } = this.authority.issue('127.0.0.1', [
      '127.0.0.1',
    ]);
    const options = { cert, key, keepAliveTimeout: KEEP_ALIVE };
    this.server = createServer(options, (received, answer) => {
      // A connection that breaks here breaks there, too.
      this.serve(received, answer).catch(() => answer.destroy());
    });
    this.agent = new Agent({ keepAlive: true, ca: upstream.caData });
  }

  static async start(upstream: Upstream, random: Random): Promise<FaultProxy> {
    const proxy = new FaultProxy(upstream, random);
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    return proxy;
  }

  /** Makes a way to the API server for one process, and for no other. */
  async open(process: string): Promise<Endpoint> {
    const link = await FaultLink.open(portOf(this.server.address()), (port) =>
      this.origins.set(port, endpoint),
    );
    const endpoint: Endpoint = {
      process,
      link,
      disturbance: {},
      kubeConfigYaml: this.kubeConfigFor(link),
    };
    this.endpoints.push(endpoint);
    return endpoint;
  }

  /** Calls back with every write that was answered, before its sender can know. @returns what ends that */
  listen(listener: (write: LeaseWrite) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { link } of this.endpoints) {
      link.close();
    }
    this.agent.destroy();
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
  }

  private async serve(
    received: IncomingMessage,
    answer: ServerResponse,
  ): Promise<void> {
    const port = received.socket.remotePort!;
    const { process, disturbance, link } = this.origins.get(port)!;
    const body = await buffer(received);
    if (isWatch(received)) {
      await this.serveWatch(received, answer, disturbance);
      return;
    }
    const { refusals, cutsAnswers, delaysWrites, losesPatches } = disturbance;
    const refusal =
      refusals && this.random.chance(0.5)
        ? this.random.pick(refusals.statuses)
        : undefined;
    if (refusal !== undefined && !refusals?.after) {
      refuse(answer, refusal);
      return;
    }
    const isLate = delaysWrites && isWrite(received) && this.random.chance(0.5);
    if (isLate) {
      await sleep(this.random.between(...delaysWrites));
    }
    const isLost =
      losesPatches && received.method === 'PATCH' && this.random.chance(0.5);
    const answered = startWrite(
      this.writes,
      process,
      received,
      body,
      isLate ? 'sent late' : isLost ? 'answer lost' : undefined,
    );
    const reply = await this.forward(received, body).catch((error: Error) => {
      if ('code' in error && error.code === 'ECONNREFUSED') {
        answered?.(NEVER_SENT);
      }
      throw error;
    });
    const content = await buffer(reply);
    const write = answered?.(reply.statusCode!, content);
    if (write !== undefined) {
      this.listeners.forEach((listener) => listener(write));
    }
    if (isLost) {
      link.reset(port);
    } else if (refusal !== undefined) {
      refuse(answer, refusal);
    } else if (cutsAnswers && this.random.chance(0.5)) {
      answer.writeHead(reply.statusCode!, reply.headers);
      answer.write(content.subarray(0, content.length / 2), () =>
        setTimeout(() => link.reset(port), TIME_TO_ARRIVE),
      );
    } else {
      answer.writeHead(reply.statusCode!, reply.headers);
      answer.end(content);
    }
  }

  private async serveWatch(
    received: IncomingMessage,
    answer: ServerResponse,
    disturbance: Disturbance,
  ): Promise<void> {
    const reply = await this.forward(received);
    if (answer.destroyed) {
      reply.destroy(); // nobody waits for it any more
      return;
    }
    answer.writeHead(reply.statusCode!, reply.headers);
    answer.flushHeaders();
    reply.pipe(answer);
    reply.once('error', () => answer.destroy());
    answer.once('close', () => reply.destroy());
    const cut = setInterval(() => {
      if (disturbance.cutsWatches) {
        answer.destroy();
      }
    }, WATCH_LIFE);
    answer.once('close', () => clearInterval(cut));
  }

  private forward(
    { method, url, headers }: IncomingMessage,
    body?: Buffer,
  ): Promise<IncomingMessage> {
    const { server } = this.upstream;
    return new Promise((resolve, reject) => {
      request(
        new URL(url!, server),
        {
          method,
          agent: this.agent,
          headers: { ...headers, host: new URL(server).host },
        },
        resolve,
      )
        .once('error', reject)
        .end(body);
    });
  }

  private kubeConfigFor(link: FaultLink): string {
    const { token, namespace } = this.upstream;
    const { certificate } = this.authority;
    const cluster = {
      server: `https://127.0.0.1:${link.port}`,
      'certificate-authority-data': Buffer.from(certificate).toString('base64'),
    };
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'proxied', cluster }],
      users: [{ name: 'worker', user: { token } }],
      contexts: [
        {
          name: 'proxied',
          context: { cluster: 'proxied', user: 'worker', namespace },
        },
      ],
      'current-context': 'proxied',
    });
  }
}

function isWatch({ url }: IncomingMessage): boolean {
  return new URL(url!, 'https://any').searchParams.has('watch');
}

/** Answers as the API server would, or what stands before it. */
function refuse(answer: ServerResponse, status: number): void {
  const isThrottled = status === 429;
  answer.writeHead(status, {
    'content-type': 'application/json',
    ...(isThrottled && { 'retry-after': '1' }),
  });
  answer.end(
    JSON.stringify({
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: 'refused by the fault suite',
      reason: REASONS[status],
      ...(isThrottled && { details: { retryAfterSeconds: 1 } }),
      code: status,
    }),
  );
}
