/** What others write into a Lease, within their rights, is shown as data only: never believed further, and never printed as it came. */
import { Test, type TestingModule } from '@nestjs/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  K8sLockModule,
  LockNotAcquiredError,
  LockService,
  type LockEvent,
} from '../../lib/index.js';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import {
  LeaseStoreError,
  type Lease,
  type LeaseSpec,
  type StoredLease,
} from '../../lib/kube/lease-store.js';
import { CLAIM, readClaim } from '../../lib/lock/record/fire-claim.js';
import {
  ACQUIRED_AT,
  LOCK_NAME,
  EVICTED,
} from '../../lib/lock/record/lease-record.js';
import { describeOnServer } from '../api-servers.js';
import { CapturedLog } from './captured-log.js';
import { errorOf } from './error-of.js';
import { findUnprintable, HOSTILE_TEXTS } from './hostile-text.js';
import { aborted } from '../support/aborted.js';

const RETAINED_BY = 'nestjs-k8s-lock/parked-by';
const ANNOTATIONS = [ACQUIRED_AT, LOCK_NAME, CLAIM, RETAINED_BY, EVICTED];

/** What API servers don't take: `REFUSED[part]`, by the names of {@link HOSTILE_TEXTS}. */
const REFUSED: Record<'holder' | 'annotations', readonly string[]> = {
  // Six mebibytes of JSON are more than a request may have.
  holder: ['a mebibyte of what needs escaping'],
  // All annotations together may have 256 KiB.
  annotations: ['a mebibyte', 'a mebibyte of what needs escaping'],
};

describeOnServer('the record of somebody else', (server) => {
  const log = new CapturedLog();
  let store: KubernetesLeaseStore;
  let pod: TestingModule;
  let locks: LockService;
  const events: LockEvent[] = [];

  beforeAll(async () => {
    const { kubeConfig } = server;
    store = new KubernetesLeaseStore({ kubeConfig, requestTimeout: 10_000 });
    pod = await Test.createTestingModule({
      imports: [
        K8sLockModule.forRoot({
          kubeConfig,
          verifyAtStartup: false,
          shutdownTimeout: 0,
        }),
      ],
    })
      .setLogger(log)
      .compile();
    await pod.init();
    locks = pod.get(LockService);
    locks.events$.subscribe((event) => events.push(event));
  });
  afterAll(async () => {
    store?.close();
    await pod?.close();
  });

  /** What is stored in the end; undefined when the server refuses it. */
  async function write(
    name: string,
    spec: LeaseSpec,
    annotations: Record<string, string> = {},
  ): Promise<StoredLease | undefined> {
    const key = { namespace: server.namespace, name };
    const found = await store.get(key);
    try {
      // By a patch, which no renewal of its holder can make fail.
      return await (found
        ? store.patch(key, { type: 'merge', body: { spec } })
        : store.create(key, { metadata: { name, annotations }, spec }));
    } catch (error) {
      if (error instanceof LeaseStoreError && error.reason === 'invalid') {
        return undefined;
      }
      throw error;
    }
  }

  const texts = Object.entries(HOSTILE_TEXTS);

  describe.each(texts)('whose holder is %s', (what, text) => {
    const name = `holder-${Object.keys(HOSTILE_TEXTS).indexOf(what)}`;
    const spec = {
      holderIdentity: text,
      leaseDurationSeconds: 600,
      acquireTime: '2026-01-01T00:00:00.000000Z',
      renewTime: '2026-01-01T00:00:00.000000Z',
      leaseTransitions: 1,
    };

    it('keeps others out, and is a datum in events and states, and one line in messages', async () => {
      const written = await write(name, spec);
      expect(written === undefined).toBe(REFUSED.holder.includes(what));
      if (written === undefined) {
        return;
      }
      const holder = written.spec!.holderIdentity!;
      events.length = 0;
      log.texts.length = 0;

      expect(await locks.tryAcquire(name)).toBeUndefined();
      expect(events.at(-1)).toMatchObject({ type: 'skipped', holder });
      const error = await errorOf(locks.acquire(name, { waitTimeout: 1 }));
      expect(error).toBeInstanceOf(LockNotAcquiredError);
      expect(error).toMatchObject({ holder });
      expect(findUnprintable(String(error))).toBeUndefined();
      expect(JSON.stringify(error.getResponse())).toBe(
        `{"statusCode":423,"error":"LockNotAcquiredError","message":"The lock is held by another request or process","lock":"${name}"}`,
      );
      expect(await locks.inspect(name)).toMatchObject({
        state: 'held',
        holder,
        name,
      });
      expect(
        (await locks.list()).find(({ leaseName }) => leaseName === name),
      ).toBeUndefined(); // it is no lock of this package
      expect(await locks.forceRelease(name)).toMatchObject({ holder });

      const lock = await locks.acquire(name, { renewInterval: 200 });
      await write(name, spec);
      await aborted(lock.signal);
      expect(log.texts.join('\n')).toContain('its Lease names another holder');
      expect(log.texts.map(findUnprintable).filter(Boolean)).toEqual([]);
      await lock.release();
    });
  });

  describe.each(texts)('whose annotations are %s', (what, text) => {
    const index = Object.keys(HOSTILE_TEXTS).indexOf(what);
    const annotations = Object.fromEntries(
      ANNOTATIONS.map((key) => [key, text]),
    );

    it.each([
      ['held', { holderIdentity: 'stranger', leaseDurationSeconds: 600 }],
      ['free', {}],
    ])('is %s all the same', async (state, spec) => {
      const name = `annotated-${state}-${index}`;
      const written = await write(name, spec, annotations);
      expect(written === undefined).toBe(REFUSED.annotations.includes(what));
      if (written === undefined) {
        return;
      }
      log.texts.length = 0;
      const found = await locks.inspect(name);
      expect(found).toMatchObject({ state, leaseName: name });
      expect(found).not.toHaveProperty('since', expect.any(Date));
      await locks.list();
      const lock = await locks.tryAcquire(name);
      expect(lock?.isHeld).toBe(state === 'free' ? true : undefined);
      await lock?.release();
      expect(log.texts.map(findUnprintable).filter(Boolean)).toEqual([]);
    });
  });

  it('whose claim is of a time out of any range claims nothing', () => {
    for (const time of [
      '+275760-09-13T00:00:00.001Z',
      '-271821-04-19T23:59:59.999Z',
      'Infinity',
      '1e400',
      '__proto__',
      ...Object.values(HOSTILE_TEXTS),
    ]) {
      const lease: Lease = {
        metadata: { name: 'job', annotations: { [CLAIM]: `${time} begun` } },
      };
      expect(readClaim(lease)).toBeUndefined();
    }
  });
});
