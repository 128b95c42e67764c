/** R4: what counts as free, and what as held for ever. */
import { describe, expect, it } from 'vitest';
import type { LeaseSpec } from '../../lib/kube/lease-store.js';
import { readHolder } from '../../lib/lock/record/lease-record.js';
import { settled } from './controlled-clock.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';

const { holderIdentity: _, ...noHolder } = foreignSpec();
const { leaseDurationSeconds: __, ...noDuration } = foreignSpec();
const DAY = 24 * 3_600_000;

describe('R4 free is', () => {
  it.each<[string, LeaseSpec]>([
    ['an empty spec', {}],
    ['no holder', { leaseTransitions: 3 }],
    ['no holder, though its times and duration are left', noHolder],
    ['the holder ""', { holderIdentity: '' }],
    [
      'the holder "", though its times and duration are left',
      foreignSpec({ holderIdentity: '' }),
    ],
  ])('%s: it is taken at once', async (_name, spec) => {
    const cluster = new Cluster();
    cluster.writeSpec(spec);
    const pod = cluster.process('pod');
    await expect(pod.inspect()).resolves.toMatchObject({
      state: 'free',
      exists: true,
    });

    const lock = await pod.try();
    expect(cluster.spec().holderIdentity).toBe(lock.holderIdentity);
    expect(cluster.clock.elapsed).toBe(0);
  });

  it('a Lease that does not exist', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    await expect(pod.inspect()).resolves.toEqual({
      name: JOB,
      namespace: 'default',
      leaseName: JOB,
      state: 'free',
      exists: false,
      transitions: 0,
      waiting: [],
    });
    await expect(pod.try()).resolves.toMatchObject({ isHeld: true });
  });

  it.each([null, undefined, {}, { holderIdentity: null }])(
    'a spec that is %j',
    (spec) => {
      expect(readHolder({ metadata: { name: JOB }, spec })).toEqual({
        held: false,
      });
    },
  );
});

describe('R4 held until released is', () => {
  it.each<[string, LeaseSpec]>([
    ['a holder without a duration', noDuration],
    ['a holder and nothing else', { holderIdentity: 'stranger' }],
    [
      'the duration of an infinite lease',
      foreignSpec({ leaseDurationSeconds: 2_147_483_647 }),
    ],
  ])('%s: it is never taken', async (_name, spec) => {
    const cluster = new Cluster();
    cluster.writeSpec(spec);
    const pod = cluster.process('pod');
    await expect(pod.try()).rejects.toMatchObject({ reason: 'held' });
    await expect(pod.inspect()).resolves.toMatchObject({
      state: 'held',
      holder: 'stranger',
      leaseDuration: undefined,
      until: undefined,
    });
    const options = { retryInterval: 3_600_000 };
    const waiting = outcomeOf(pod.acquire(JOB, options));
    await cluster.clock.advance(30 * DAY);

    expect(waiting.state).toBe('pending');
    expect(cluster.spec()).toEqual(spec);
  });

  it('taken as soon as its holder releases it', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(noDuration);
    const waiting = outcomeOf(cluster.process('pod').acquire());
    await cluster.clock.advance(DAY / 24);
    expect(waiting.state).toBe('pending');

    cluster.writeSpec({ leaseTransitions: 7 });
    await settled();
    expect(waiting.state).toBe('resolved');
  });

  it.each([null, 0, -5, 1.5, 2 ** 31 - 1, 2 ** 40])(
    'a duration of %s',
    (leaseDurationSeconds) => {
      const spec = foreignSpec({ leaseDurationSeconds });
      expect(readHolder({ metadata: { name: JOB }, spec })).toEqual({
        held: true,
        holder: 'stranger',
        duration: undefined,
      });
    },
  );
});

describe('R4 held for a time is', () => {
  it.each([1, 15, 2 ** 31 - 2])('a duration of %d s', (seconds) => {
    const spec = foreignSpec({ leaseDurationSeconds: seconds });
    expect(readHolder({ metadata: { name: JOB }, spec })).toEqual({
      held: true,
      holder: 'stranger',
      duration: seconds * 1_000,
    });
  });
});
