/** What a holder leaves behind that dies, retains its lock or releases it, is understood by the others: ours and theirs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { startLocker, type Locker } from '../processes/lockers.js';
import { describeInterop } from './describe-interop.js';
import {
  ALWAYS,
  ONCE,
  PeerProcesses,
  durationOf,
  timeOf,
} from './peer-processes.js';

vi.setConfig({ maxConcurrency: 20 });

const LEASE = 3_000;
/** Shorter than ours: what counts is the duration in the record. */
const CLIENT_GO = {
  clientGo: {
    leaseDuration: 2_000,
    renewDeadline: 1_500,
    retryPeriod: 200,
    releaseOnCancel: true,
  },
};
const K8SLOCK = { k8slock: { ttl: 2_000, retryWait: 100 } };
const K8SLOCK_WITHOUT_TTL = { k8slock: { retryWait: 100 } };
const PEERS = [
  { kind: 'client-go', peer: CLIENT_GO },
  { kind: 'k8slock', peer: K8SLOCK },
] as const;
/** Milliseconds, more than any of these leases. */
const LONG = 4_500;

describeInterop('a lock passes', (interop) => {
  const processes = new PeerProcesses(interop);
  let ours: Locker;

  beforeAll(async () => {
    const { kubeConfigYaml, namespace } = interop;
    const options = { kubeConfigYaml, namespace, leaseDuration: LEASE };
    await using doomed = await startLocker(options);
    const inherited = ['client-go', 'k8slock', 'k8slock-without-ttl'].map(
      (heir) => `of-ours-to-${heir}`,
    );
    const forEver = PEERS.map(({ kind }) => `infinite-${kind}`);
    await Promise.all([
      ...inherited.map((lock) => doomed.call('acquire', lock)),
      ...forEver.map((lock) =>
        doomed.call('acquire', lock, { leaseDuration: 'infinite' }),
      ),
    ]);
    ours = processes.own(await startLocker(options));
    // It has renewed them: R3 has been at work.
    await Promise.all(
      inherited.map((name) => doomed.event('renewed', { name })),
    );
    doomed.signal('SIGKILL');
  });
  afterAll(() => processes[Symbol.asyncDispose]());

  it.concurrent.each(PEERS)(
    'from ours that was killed to $kind, not before the duration in the record',
    async ({ kind, peer }) => {
      const lock = `of-ours-to-${kind}`;
      const before = await processes.specOf(lock);
      await processes.start(lock, peer, ALWAYS).acquired();
      const after = await processes.specOf(lock);
      expect(durationOf(before)).toBe(LEASE);
      expect(timeOf(after.acquireTime)).toBeGreaterThanOrEqual(
        timeOf(before.acquireTime) + LEASE,
      );
    },
  );

  it.concurrent.each(PEERS)(
    'from ours that retained it to $kind, not before minHold is over',
    async ({ kind, peer }) => {
      const lock = `retained-${kind}`;
      await ours.call('acquire', lock, { minHold: LEASE });
      await ours.call('release', lock);
      const retained = await processes.specOf(lock);
      await processes.start(lock, peer, ALWAYS).acquired();
      const taken = await processes.specOf(lock);
      expect(timeOf(taken.acquireTime)).toBeGreaterThanOrEqual(
        timeOf(retained.renewTime) + durationOf(retained),
      );
    },
  );

  it.concurrent.each(PEERS)(
    'never from ours that has it for ever to $kind, until it is forced',
    async ({ kind, peer }) => {
      const lock = `infinite-${kind}`;
      const contender = processes.start(lock, peer, ALWAYS);
      await sleep(LONG);
      expect(contender.beliefs()).toEqual([]);
      await ours.call('forceRelease', lock);
      await contender.acquired();
    },
  );

  it.concurrent.each(PEERS)(
    'from $kind that was killed to ours, not before the duration in the record',
    async ({ kind, peer }) => {
      const lock = `of-${kind}`;
      const contender = processes.start(lock, peer, ALWAYS);
      await contender.acquired();
      const taken = ours.call('acquire', lock);
      await ours.event('waiting', { name: lock });
      await contender.kill();
      const before = await processes.specOf(lock);
      await taken;
      const after = await processes.specOf(lock);
      const lastSign = timeOf(before.renewTime ?? before.acquireTime);
      expect(timeOf(after.acquireTime)).toBeGreaterThanOrEqual(
        lastSign + durationOf(before),
      );
    },
  );

  it.concurrent(
    'never from k8slock without TTL that was killed, until it is forced',
    async () => {
      const lock = 'of-k8slock-without-ttl';
      const contender = processes.start(lock, K8SLOCK_WITHOUT_TTL, ALWAYS);
      await contender.acquired();
      await contender.kill();
      expect(
        (await processes.specOf(lock)).leaseDurationSeconds,
      ).toBeUndefined();
      await expect(
        ours.call('acquire', lock, { waitTimeout: LONG }),
      ).rejects.toThrow('was not acquired');
      await ours.call('forceRelease', lock);
      await ours.call('acquire', lock);
    },
  );

  it.concurrent(
    'from k8slock without TTL to ours, after the duration that one of ours has left in its record',
    async () => {
      const lock = 'of-ours-to-k8slock-without-ttl';
      await processes.start(lock, K8SLOCK_WITHOUT_TTL, ALWAYS).acquired();
      const before = await processes.specOf(lock);
      expect(durationOf(before)).toBe(LEASE);
      await ours.call('acquire', lock);
      const after = await processes.specOf(lock);
      expect(timeOf(after.acquireTime)).toBeGreaterThanOrEqual(
        timeOf(before.acquireTime) + LEASE,
      );
    },
  );

  it.concurrent.each(PEERS)(
    'from $kind that has released it to ours, at once',
    async ({ kind, peer }) => {
      const lock = `released-by-${kind}`;
      const contender = processes.start(lock, peer, ONCE);
      await contender.ended();
      const released = await processes.free(lock);
      expect(released).toMatchObject(
        kind === 'client-go'
          ? { holderIdentity: '', leaseDurationSeconds: 1 }
          : { leaseTransitions: 1 },
      );
      await ours.call('acquire', lock, { waitTimeout: 0 });
    },
  );
});
