/** Measures a decorated method: the cost of its lock beyond its requests. */
import { KubeConfig } from '@kubernetes/client-node';
import { Injectable } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { K8sLockModule, LockService, WithLeaseLock } from 'nestjs-k8s-lock';
import {
  make,
  type LeaseStore,
  type StoredLease,
} from '../../lib/kube/lease-store.js';
import {
  answer,
  monotonic,
} from '../../verification/processes/programs/calls.js';
import { inTurns, timeOf, type Samples } from './in-turns.js';

@Injectable()
class Work {
  async unlocked(): Promise<void> {}

  @WithLeaseLock('measured')
  async locked(): Promise<void> {}
}

let work: Work;
/** That of the application: what is put into it is what its locks call. */
let store: LeaseStore;

/** What the locks of the application have written. */
class Writes {
  readonly leases: StoredLease[] = [];
  /** Milliseconds in which one of them was under way. */
  time = 0;

  /** Sends a write as the store does. */
  readonly send = store.replace.bind(store);

  observe(): void {
    store.replace = async (key, lease, options) => {
      const made = make(lease);
      const before = monotonic();
      const written = await this.send(key, made, options);
      this.time += monotonic() - before;
      this.leases.push(made);
      return written;
    };
  }
}

const calls = {
  async open(kubeConfigYaml: string): Promise<void> {
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromString(kubeConfigYaml);
    const app = await NestFactory.createApplicationContext(
      {
        module: class App {
          readonly name = 'app';
        },
        imports: [K8sLockModule.forRoot({ kubeConfig })],
        providers: [Work],
      },
      { logger: false, abortOnError: false },
    );
    work = app.get(Work);
    store = Reflect.get(app.get(LockService), 'store');
  },

  /**
   * Locked calls against the same requests alone, sent by the same store, over the same connections, to
   * a Lease that is nobody's lock; and of locked calls, the time in which none of their requests was
   * under way, against unlocked calls.
   */
  async onServer(rounds: number) {
    const writes = new Writes();
    writes.observe();
    await work.locked(); // creates its Lease
    writes.leases.length = 0;
    await work.locked();
    const [...bodies] = writes.leases;
    const key = { namespace: bodies[0]!.metadata.namespace!, name: 'raw' };
    let raw = await store.create(key, bodies[0]!);
    const againstRequests = await inTurns(
      rounds,
      () => timeOf(() => work.locked()),
      () =>
        timeOf(async () => {
          for (const body of bodies) {
            const { uid, resourceVersion } = raw.metadata;
            const metadata = { ...body.metadata, uid, resourceVersion };
            // oxlint-disable-next-line no-await-in-loop -- one after the other, as those of a lock
            raw = await writes.send(key, { ...body, metadata });
          }
        }),
    );
    const outsideOfRequests = await inTurns(
      rounds,
      async () => {
        writes.time = 0;
        const time = await timeOf(() => work.locked());
        return time - writes.time;
      },
      () => timeOf(() => work.unlocked()),
    );
    return { requests: bodies.length, againstRequests, outsideOfRequests };
  },

  /**
   * Locked calls against unlocked ones, on a store that answers at once as if each write had succeeded.
   * To be measured last: what the application knows from then on is not what the API server has.
   */
  answeredAtOnce(rounds: number): Promise<Samples> {
    store.replace = async (_, lease) => {
      const made = make(lease);
      const version = BigInt(made.metadata.resourceVersion) + 1n;
      return {
        ...made,
        metadata: { ...made.metadata, resourceVersion: String(version) },
      };
    };
    return inTurns(
      rounds,
      () => timeOf(() => work.locked()),
      () => timeOf(() => work.unlocked()),
    );
  },
};

export type LockedMethodCalls = typeof calls;

answer(calls);
