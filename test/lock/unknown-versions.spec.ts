/**
 * What a process does with annotations whose values are of a version that it does not know, as in a rolling upgrade or after a
 * rollback: the plain fields of the Lease decide about the lock, and what another process needs of the annotation stays.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StoredLease } from '../../lib/kube/lease-store.js';
import { describeLock } from '../../lib/lock/record/lock-state.js';
import { isForeign, readHolder } from '../../lib/lock/record/lease-record.js';
import { lineOf } from '../../lib/lock/record/line.js';
import { judgeClaim } from '../../lib/lock/record/fire-claim.js';
import { permitsOf } from '../../lib/lock/record/permits.js';
import { claimOf, fire } from './fires.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';
import { enrol, GRANT, held, TICKET } from './waiting-processes.js';

const PREFIX = 'nestjs-k8s-lock/';
const HOLDER = 'newer_0f5dcd4a-8d39-4f53-a4a4-9d8a1f6f2a11';
const TIME = '2026-01-01T00:00:00.000000Z';

/** The annotations of the holder, each with a value of the present version. */
const PRESENT = {
  [`${PREFIX}name`]: 'Job',
  [`${PREFIX}acquired-at`]: `${TIME} by ${HOLDER}`,
  [`${PREFIX}parked-by`]: HOLDER,
  [`${PREFIX}parked-until`]: TIME,
  [`${PREFIX}withdrawn`]: HOLDER,
  [`${PREFIX}session`]: `session-1 uid-1 15 by ${HOLDER}`,
  [`${PREFIX}permits`]: '5',
  [GRANT]: `3000 0 ${HOLDER}`,
  [`${TICKET}n1`]: '5 15 waiter_n1',
};

/** A value of a later version: what it adds before, after or around that of the present one, or something else. */
const later = (value: string): fc.Arbitrary<string> =>
  fc.oneof(
    fc.constantFrom(
      `v2 ${value}`,
      `2;${value}`,
      `${value} v2`,
      `${value};v2`,
      JSON.stringify({ version: 2, value }),
      Buffer.from(value).toString('base64'),
      '',
    ),
    fc.string({ minLength: 1, maxLength: 8 }).map((text) => `v2${text}`),
  );

const annotations: fc.Arbitrary<Record<string, string>> = fc
  .subarray(Object.entries(PRESENT))
  .chain((chosen) =>
    fc.tuple(
      ...chosen.map(([key, value]) =>
        later(value).map((changed): [string, string] => [key, changed]),
      ),
    ),
  )
  .map((entries) => Object.fromEntries(entries));

const specs = fc.constantFrom(
  foreignSpec({ holderIdentity: HOLDER }),
  foreignSpec({ holderIdentity: HOLDER, leaseDurationSeconds: 2_147_483_647 }),
  foreignSpec({ holderIdentity: HOLDER, leaseDurationSeconds: undefined }),
  { leaseTransitions: 7 },
);

const leaseOf = (
  spec: StoredLease['spec'],
  values: Record<string, string> = {},
): StoredLease => ({
  metadata: {
    name: JOB,
    namespace: 'default',
    uid: 'u-1',
    resourceVersion: '7',
    annotations: values,
  },
  spec,
});

/** What a later version keeps beside the annotations of the present one. */
const LATER_KEYS = {
  [`${PREFIX}next`]: 'v2 anything',
  [`${TICKET}n2`]: 'v2 5 15 waiter_n2 in-a-hurry',
  'line.nestjs-k8s-lock/v2.n3': '{"number":5}',
};

describe('annotations of a later version', () => {
  it('leave the plain fields of the Lease to decide about the lock', () => {
    fc.assert(
      fc.property(specs, annotations, (spec, values) => {
        const lease = leaseOf(spec, values);
        expect(readHolder(lease)).toEqual(readHolder(leaseOf(spec)));
        expect(lineOf(lease)).toEqual([]);
        expect(permitsOf(lease)).toBeUndefined();
        const { state, transitions } = describeLock(
          { name: JOB, namespace: 'default', leaseName: JOB },
          lease,
        );
        expect(state).toBe(spec?.holderIdentity ? 'held' : 'free');
        expect(transitions).toBe(7);
      }),
    );
  });

  it('make their holder one that does not know the line: nobody enrols, and the lock is left free for it now and then', () => {
    const spec = foreignSpec({ holderIdentity: HOLDER });
    const acquiredAt = `${PREFIX}acquired-at`;
    const known = { [acquiredAt]: `${TIME} by ${HOLDER}` };
    expect(isForeign(leaseOf(spec, known))).toBe(false);
    fc.assert(
      fc.property(later(`3000 0 ${HOLDER}`), (value) => {
        expect(isForeign(leaseOf(spec, { ...known, [GRANT]: value }))).toBe(
          true,
        );
      }),
    );
  });

  it('do not stand in the way of taking over when the lease has expired, nor are they obeyed', async () => {
    await fc.assert(
      fc.asyncProperty(annotations, async (values) => {
        const cluster = new Cluster();
        cluster.write((lease) => {
          lease.metadata.annotations = { ...values };
          lease.spec = foreignSpec({ holderIdentity: HOLDER });
        });
        const waiting = outcomeOf(cluster.process('pod').acquire());
        await cluster.clock.advance(14_000);
        expect(waiting.state).toBe('pending');
        await cluster.clock.advance(3_000);
        expect(waiting.state).toBe('resolved');
        await waiting.value!.release();
        expect(cluster.holder()).toBeUndefined();
      }),
      { numRuns: 30 },
    );
  });
});

describe('what a later version keeps in the record', () => {
  it('survives all that is done with a lock: waits, grants, renewals, a takeover, a forced release', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    cluster.write(({ metadata }) => {
      metadata.annotations = { ...metadata.annotations, ...LATER_KEYS };
    });
    const expectKept = (): void =>
      expect(cluster.lease()!.metadata.annotations).toMatchObject(LATER_KEYS);

    const next = await enrol(pods[0]!);
    expect(lineOf(cluster.lease()!)).toHaveLength(1);
    await clock.advance(6_000);
    expectKept();
    await lock.release();
    await clock.advance(100);
    expect(cluster.holder()).toBe('b');
    expectKept();
    await clock.advance(6_000);
    expectKept();
    await next.value!.release();
    expectKept();

    cluster.write((lease) => {
      lease.metadata.annotations![GRANT] = `3000 0 ${HOLDER}`;
      lease.spec = foreignSpec({ holderIdentity: HOLDER });
    });
    const taken = await enrol(pods[1]!);
    await clock.advance(20_000);
    expect(taken.state).toBe('resolved');
    expectKept();
    await pods[0]!.forceRelease();
    expectKept();
  });

  it('is no place in line that anybody would be granted', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    cluster.write(({ metadata }) => {
      metadata.annotations = { ...metadata.annotations, ...LATER_KEYS };
    });
    const next = await enrol(pods[0]!);
    await lock.release();
    await clock.advance(100);
    expect(next.state).toBe('resolved');
  });
});

describe('a fire claim of a later version', () => {
  /** A state that is not known, or one that has more to it. */
  const laterState = fc.oneof(
    fc.constantFrom('v2 begun by x', 'paused by x', 'done;v2', '', 'v2'),
    fc
      .string({ minLength: 1, maxLength: 8 })
      .filter((text) => !text.includes(' '))
      .map((text) => `v2-${text} by ${HOLDER}`),
  );

  it('counts as done for its fire and all before, and not for later ones', () => {
    fc.assert(
      fc.property(laterState, fc.boolean(), (state, retry) => {
        const lease = leaseOf(foreignSpec(), {
          [`${PREFIX}fire`]: `2026-01-01T00:05:00.000Z ${state}`,
        });
        const verdictOf = (minute: number) =>
          judgeClaim(claimOf({ minute, retry }), lease, HOLDER).state;
        expect([4, 5, 6].map(verdictOf)).toEqual(['taken', 'taken', 'free']);
      }),
    );
  });

  it('is followed by the next fire as ever', async () => {
    const cluster = new Cluster();
    cluster.write((lease) => {
      lease.metadata.annotations = {
        [`${PREFIX}fire`]: `2026-01-01T00:05:00.000Z v2 begun by ${HOLDER}`,
      };
      lease.spec = { leaseTransitions: 7 };
    });
    const pod = cluster.process('pod');
    const skipped = outcomeOf(fire(pod, { minute: 5 }));
    await cluster.clock.advance(1_000);
    expect(skipped.reason).toMatchObject({
      verdict: { state: 'taken', by: undefined },
    });
    const next = outcomeOf(fire(pod, { minute: 6 }));
    await cluster.clock.advance(1_000);
    expect(next.state).toBe('resolved');
  });
});
