/** LockServices as applications have them, over HTTP to an embedded API server. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import {
  resolveModuleOptions,
  type K8sLockModuleOptions,
} from '../../lib/k8s-lock.options.js';
import type { LeaseSpec } from '../../lib/kube/lease-store.js';
import type { LockEvent } from '../../lib/lock.events.js';
import { clientOf } from '../../lib/lock.client.js';
import { LockService } from '../../lib/lock.service.js';
import { LeaseApiServer } from '../../lib/testing/index.js';

export class TestService extends LockService {
  readonly seen: LockEvent[] = [];
  hasCompleted = false;

  constructor(options: K8sLockModuleOptions) {
    super(resolveModuleOptions(options));
    this.events$.subscribe({
      next: (event) => this.seen.push(event),
      complete: () => {
        this.hasCompleted = true;
      },
    });
  }

  /** The types of the events so far, oldest first. */
  eventTypes(): string {
    return this.seen.map(({ type }) => type).join(' ');
  }

  /** Resolves with the next event of this type. */
  next<T extends LockEvent['type']>(
    type: T,
  ): Promise<Extract<LockEvent, { type: T }>> {
    const isIt = (event: LockEvent): event is Extract<LockEvent, { type: T }> =>
      event.type === type;
    return new Promise((resolve) => {
      const subscription = this.events$.subscribe((event) => {
        if (isIt(event)) {
          subscription.unsubscribe();
          resolve(event);
        }
      });
    });
  }
}

export class Api {
  server!: LeaseApiServer;
  private readonly services: TestService[] = [];

  /** An application's service; shut down when the test ends. */
  async service(options: K8sLockModuleOptions = {}): Promise<TestService> {
    const service = new TestService({
      kubeConfig: await this.server.kubeConfig(),
      shutdownTimeout: 0,
      ...options,
    });
    this.services.push(service);
    return service;
  }

  spec(name: string): LeaseSpec {
    return this.server.lease({ namespace: 'default', name })?.spec ?? {};
  }

  /** The verbs of the requests received so far, watches left out. */
  verbs(name: string): string {
    return this.server.requests
      .all({ name, where: ({ verb }) => verb !== 'watch' })
      .map(({ verb }) => verb)
      .join(' ');
  }

  /** @internal */
  async shutDown(): Promise<void> {
    this.server.faults.clear();
    await Promise.all(
      this.services.splice(0).map((service) => clientOf(service)!.shutdown()),
    );
  }
}

/** One embedded API server for all tests of the file: each takes locks of its own, or stops its faults. */
export function useApi(): Api {
  const api = new Api();
  beforeAll(async () => {
    api.server = await LeaseApiServer.start();
  });
  afterEach(() => api.shutDown());
  afterAll(() => api.server.stop());
  return api;
}
