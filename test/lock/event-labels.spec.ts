/** Events name the method in whose call they happen, even if a watch, a timer or another call detects them. */
import { describe, expect, it } from 'vitest';
import { runInCall } from '../../lib/lock/acquire/request-scope.js';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { settled } from './controlled-clock.js';
import { Cluster, outcomeOf } from './processes.js';

/** The label of each event of these types, oldest first. */
const labelsOf = (
  { events }: ReturnType<Cluster['process']>,
  ...types: readonly string[]
): unknown[] =>
  events.filter(({ type }) => types.includes(type)).map(({ method }) => method);

/** A lock that the call of a method holds, on a Lease that the call of another keeps watched. */
async function watched() {
  const cluster = new Cluster();
  const a = cluster.process('a');
  const b = cluster.process('b');
  await (await a.acquire()).release();
  const held: LeaseLock = await runInCall('Jobs.holder', () => a.acquire());
  const abort = new AbortController();
  const waits = runInCall('Jobs.watcher', () => {
    a.observe();
    return outcomeOf(a.acquire('job', {}, abort.signal));
  });
  await settled();
  return { cluster, a, b, held, waits, abort, clock: cluster.clock };
}

describe('the label of a call is on', () => {
  it('the loss that a watch tells', async () => {
    const { a, b } = await watched();
    await b.forceRelease();
    await settled();
    expect(labelsOf(a, 'lost')).toEqual(['Jobs.holder']);
  });

  it('the loss that a timer tells', async () => {
    const { a, clock } = await watched();
    a.store.plan({ breaks: 'before' }, ['get', 'update']);
    await clock.advance(13_500);
    expect(labelsOf(a, 'lost')).toEqual(['Jobs.holder']);
    const renewals = a.events.filter(
      (event) => event.type === 'backend-error' && event.operation === 'renew',
    );
    expect(new Set(renewals.map(({ method }) => method))).toEqual(
      new Set(['Jobs.holder']),
    );
  });

  it('renewals that a watch event delayed', async () => {
    const { cluster, a, clock } = await watched();
    a.store.tellWatches(cluster.lease()!, true); // that it is gone: old news
    await clock.advance(6_000);
    expect(labelsOf(a, 'renewed')).toEqual(['Jobs.holder']);
  });

  it('the wait, and the acquisition by a handover', async () => {
    const { a, held } = await watched();
    await runInCall('Jobs.releaser', () => held.release());
    await settled();
    expect(labelsOf(a, 'waiting')).toEqual(['Jobs.watcher']);
    expect(labelsOf(a, 'acquired')).toEqual([
      undefined,
      'Jobs.holder',
      'Jobs.watcher',
    ]);
    expect(labelsOf(a, 'released')).toEqual([undefined, 'Jobs.holder']);
  });

  it('the failed release of a lock whose waiter has given up', async () => {
    const { a, held, abort, clock } = await watched();
    a.store.plan({ breaks: 'unsent' }, ['get', 'update']);
    await held.release();
    abort.abort();
    await clock.advance(5_000);
    const releases = a.events.filter(
      (event) =>
        event.type === 'backend-error' && event.operation === 'release',
    );
    expect(releases.length).toBeGreaterThan(0);
    expect(new Set(releases.map(({ method }) => method))).toEqual(
      new Set(['Jobs.holder']),
    );
  });
});
