/** A lock name from outside stays a name: it leads to its own Lease and nowhere else, and is never printed as it came. */
import { clientOf } from '../../lib/lock.client.js';
import { inspect } from 'node:util';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LockError } from '../../lib/index.js';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { encodeLockName } from '../../lib/lock/lease-name.js';
import { startLockApp, type LockApp } from '../decorators/lock-app.js';
import {
  kubeConfigFor,
  leaseNamed,
  answer,
  StubApi,
} from '../kube/stub-api.js';
import { CapturedLog } from './captured-log.js';
import { errorOf } from './error-of.js';
import { findUnprintable, HOSTILE_TEXTS } from './hostile-text.js';
import { aborted } from '../support/aborted.js';

/** The path of the Leases of a namespace, or of one of them, and nothing behind it but a known query. */
const LEASE_PATH =
  /^\/apis\/coordination\.k8s\.io\/v1\/namespaces\/default\/leases(\/[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?|\?fieldSelector=metadata\.name%3D[-.a-z0-9]{1,253}(&(watch|allowWatchBookmarks|resourceVersion|timeoutSeconds)=\w+)*)?$/;

/** Renewed soon, so that a loss is noticed soon. */
const BRISK = { leaseDuration: 10_000, renewInterval: 20 };

const log = new CapturedLog();
let fixture: LockApp;
beforeAll(async () => {
  fixture = await startLockApp({}, { logger: log });
});
afterAll(() => fixture?.[Symbol.asyncDispose]());

describe.each(Object.entries(HOSTILE_TEXTS))(
  'a lock named %s',
  (_what, name) => {
    it('has exactly one Lease, and no other path is requested', async () => {
      const { server, locks, others } = fixture;
      server.requests.clear();
      const lock = await locks.acquire(name);
      const isWaiting = server.requests.next({ verb: 'watch' });
      const next = others.acquire(name);
      await isWaiting;
      await lock.release();
      await (await next).release();
      expect(lock.leaseName).toBe(encodeLockName(name));
      const paths = new Set(server.requests.all().map(({ path }) => path));
      expect([...paths].filter((path) => !LEASE_PATH.test(path))).toEqual([]);

      const key = { namespace: 'default', name: lock.leaseName };
      const { metadata } = server.lease(key)!;
      expect(JSON.stringify(metadata.annotations).length).toBeLessThan(10_000);
      expect((await locks.inspect(name)).leaseName).toBe(lock.leaseName);
    });

    it('is one line, and a short one, in every error and in the log', async () => {
      const { server, locks, others } = fixture;
      const leaseName = encodeLockName(name);
      log.texts.length = 0;
      const errors: Error[] = [];
      const events = locks.events$.subscribe((event) => {
        if (event.type === 'backend-error') {
          errors.push(event.error);
        }
      });

      const held = await others.acquire(name);
      errors.push(await errorOf(locks.acquire(name, { waitTimeout: 1 })));
      errors.push(
        await errorOf(
          clientOf(locks)!.acquireForMethod({
            name,
            onLocked: 'throw',
            options: {},
          }),
        ),
      );
      await held.release();

      const lost = await locks.acquire(name, BRISK);
      await others.forceRelease(name);
      await aborted(lost.signal);
      errors.push(lost.signal.reason);

      const renewed = await locks.acquire(name, BRISK);
      {
        using _ = server.faults.inject(
          { kind: 'status', code: 500 },
          { name: leaseName },
        );
        await new Promise<void>((resolve) => {
          const failed = locks.events$.subscribe(({ type }) => {
            if (type === 'backend-error') {
              failed.unsubscribe();
              resolve();
            }
          });
        });
        errors.push(await errorOf(locks.inspect(name)));
      }
      await renewed.release();
      events.unsubscribe();

      expect(errors.length).toBeGreaterThanOrEqual(5);
      expect(log.texts.join('\n')).toContain('its release was forced');
      const texts = [
        ...errors.flatMap((error) =>
          error instanceof LockError
            ? [error.message, error.explanation, inspect(error)]
            : [error.message],
        ),
        ...log.texts,
      ];
      expect(texts.map(findUnprintable).filter(Boolean)).toEqual([]);
    });
  },
);

describe('the store', () => {
  it('refuses every name and namespace that is no part of a path, and sends nothing', async () => {
    await using api = await StubApi.start((response, { url }) =>
      answer(response, 200, leaseNamed(url.pathname.split('/').at(-1)!)),
    );
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(),
      requestTimeout: 5_000,
    });
    const part = fc.oneof(
      fc.constantFrom(...Object.values(HOSTILE_TEXTS)),
      fc.constantFrom('', '.', '..', '/', '%2e%2e', 'a/b', 'a?b', 'a#b', 'ok'),
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.stringMatching(/^[-.a-zA-Z0-9%/]{1,70}$/),
    );
    await fc.assert(
      fc.asyncProperty(part, part, async (namespace, name) => {
        const before = api.received.length;
        const error: unknown = await store.get({ namespace, name }).then(
          () => undefined,
          (reason: unknown) => reason,
        );
        const { url } = api.received[before] ?? {};
        const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${name}`;
        const refusal = expect.objectContaining({ reason: 'invalid' });
        expect(url ? url.pathname + url.search + url.hash : error).toEqual(
          url ? path : refusal,
        );
        expect(findUnprintable(String(error))).toBeUndefined();
      }),
      {
        numRuns: 500,
        examples: Object.values(HOSTILE_TEXTS).map((text) => [text, text]),
      },
    );
    store.close();
  });

  it('refuses a namespace of the configuration that is none', async () => {
    const kubeConfig = kubeConfigFor('https://127.0.0.1:1');
    kubeConfig.contexts = kubeConfig.contexts.map((context) => ({
      ...context,
      namespace: HOSTILE_TEXTS['a line of a log'],
    }));
    const store = new KubernetesLeaseStore({
      kubeConfig,
      requestTimeout: 5_000,
    });
    await expect(store.defaultNamespace()).rejects.toThrow(
      'is not a DNS-1123 label',
    );
  });
});
