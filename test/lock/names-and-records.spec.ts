/** Properties of what goes in and out: lock names become Lease names, and any record at all can be read. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StoredLease } from '../../lib/kube/lease-store.js';
import {
  encodeLockName,
  isLine,
  lineLeaseName,
  slotLeaseName,
  slotOf,
} from '../../lib/lock/lease-name.js';
import { describeLock } from '../../lib/lock/record/lock-state.js';
import { ObservedLease } from '../../lib/lock/record/observed-lease.js';
import {
  fingerprint,
  microTime,
  readHolder,
  release,
  renew,
  take,
} from '../../lib/lock/record/lease-record.js';
import { ControlledClock } from './controlled-clock.js';

const SUBDOMAIN =
  /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const legal = fc
  .stringMatching(/^[a-z0-9]([-.a-z0-9]{0,80}[a-z0-9])?$/)
  .filter((name) => SUBDOMAIN.test(name) && !name.includes('--'));
const anyName = fc.oneof(
  legal,
  fc.string({ minLength: 1, unit: 'binary' }),
  fc.string({ minLength: 1, maxLength: 600 }),
  legal.map(encodeLockName),
  fc.string({ minLength: 1 }).map(encodeLockName),
  legal.map((name) => name.toUpperCase()),
);

describe('the Lease name of a lock', () => {
  it('is legal, for any lock name', () => {
    fc.assert(
      fc.property(anyName, (name) => {
        const encoded = encodeLockName(name);
        expect(encoded).toMatch(SUBDOMAIN);
        expect(encoded.length).toBeLessThanOrEqual(253);
      }),
      { numRuns: 500 },
    );
  });

  it('is the lock name, where that is legal', () => {
    fc.assert(
      fc.property(legal, (name) => {
        expect(encodeLockName(name)).toBe(name);
      }),
    );
  });

  it('is another one for another lock name', () => {
    fc.assert(
      fc.property(anyName, anyName, (a, b) => {
        fc.pre(a !== b);
        expect(encodeLockName(a)).not.toBe(encodeLockName(b));
      }),
      { numRuns: 500 },
    );
  });

  it('of one lock is never the name of another that looks like it', () => {
    fc.assert(
      fc.property(anyName, (name) => {
        const encoded = encodeLockName(name);
        fc.pre(encoded !== name);
        expect(encodeLockName(encoded)).not.toBe(encoded);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['Order #7', /^order-7--[0-9a-f]{32}$/],
    ['tenant/a', /^tenant-a--[0-9a-f]{32}$/],
    ['***', /^lock--[0-9a-f]{32}$/],
    ['..', /^lock--[0-9a-f]{32}$/],
    ['a..b', /^a-b--[0-9a-f]{32}$/],
    ['x'.repeat(254), /^x{219}--[0-9a-f]{32}$/],
  ])('of %j stays readable', (name, expected) => {
    expect(encodeLockName(name)).toMatch(expected);
  });

  it('tells lone surrogates apart', () => {
    expect(encodeLockName('\uD800')).not.toBe(encodeLockName('\uD801'));
  });
});

const partsOf = (name: string): string[] => {
  const leaseName = encodeLockName(name);
  return [
    ...[0, 1, 2, 10, 99].map((slot) => slotLeaseName(leaseName, slot)),
    lineLeaseName(leaseName),
  ];
};

describe('the Leases of a semaphore', () => {
  const semaphore = fc.oneof(
    anyName,
    fc.string({ minLength: 240, maxLength: 253, unit: fc.constant('a.b') }),
    fc
      .integer({ min: 230, max: 253 })
      .map((length) => 'x'.repeat(length).replaceAll('xxx', 'x.x')),
  );
  it('have legal names, which are not those of each other, and tell what they are', () => {
    fc.assert(
      fc.property(semaphore, (name) => {
        const parts = partsOf(name);
        for (const part of parts) {
          expect(part).toMatch(SUBDOMAIN);
          expect(part.length).toBeLessThanOrEqual(253);
        }
        expect(new Set(parts).size).toBe(parts.length);
        expect(parts.map(slotOf)).toEqual([0, 1, 2, 10, 99, 0]);
        expect(parts.map(isLine).lastIndexOf(false)).toBe(4);
        expect(parts.map(isLine).indexOf(true)).toBe(5);
      }),
      { numRuns: 500 },
    );
  });

  it('are not those of another lock or semaphore, even of one with such a name', () => {
    fc.assert(
      fc.property(semaphore, semaphore, (a, b) => {
        fc.pre(a !== b);
        const others = new Set([...partsOf(b), ...partsOf(b).flatMap(partsOf)]);
        expect(partsOf(a).filter((part) => others.has(part))).toEqual([]);
        const lookAlikes = partsOf(a).slice(1).map(encodeLockName);
        expect(lookAlikes.filter((name) => partsOf(a).includes(name))).toEqual(
          [],
        );
      }),
      { numRuns: 200 },
    );
  });

  it.each([
    ['pool', 0, 'pool'],
    ['pool', 7, 'pool--slot-7'],
    ['Order #7', 1, /^order-7--[0-9a-f]{32}--slot-1$/],
    ['x'.repeat(253), 12, /^x{210}--[0-9a-f]{32}--slot-12$/],
  ])('of %j, slot %i, stay readable', (name, slot, expected) => {
    expect(slotLeaseName(encodeLockName(name), slot)).toMatch(expected);
  });
});

const time = fc.oneof(
  fc.constantFrom('2026-01-01T00:00:00.000000Z', 'not a time', '', null),
  fc.string(),
);
const record: fc.Arbitrary<StoredLease> = fc.record({
  metadata: fc.record(
    {
      name: fc.constant('job'),
      uid: fc.constant('u'),
      resourceVersion: fc.nat().map(String),
      annotations: fc.option(fc.dictionary(fc.string(), fc.string())),
      labels: fc.option(fc.dictionary(fc.string(), fc.string())),
    },
    { requiredKeys: ['name', 'uid', 'resourceVersion'] },
  ),
  spec: fc.option(
    fc.record(
      {
        holderIdentity: fc.option(fc.string()),
        leaseDurationSeconds: fc.option(fc.integer()),
        acquireTime: time,
        renewTime: time,
        leaseTransitions: fc.option(fc.integer()),
        futureField: fc.jsonValue(),
      },
      { requiredKeys: [] },
    ),
  ),
});
const clock = new ControlledClock();
const newHolder = {
  identity: 'pod_1',
  leaseDuration: 15_000,
  lockName: 'job',
} as const;

describe('any record', () => {
  it('can be read, and never counts as expired when it was just seen', () => {
    fc.assert(
      fc.property(record, (lease) => {
        const observation = new ObservedLease(clock);
        observation.see(lease);
        const verdict = observation.judge();
        const { held } = readHolder(lease);
        expect(verdict.takeable).toBe(!held);
        expect(
          describeLock(
            { name: 'job', namespace: 'default', leaseName: 'job' },
            lease,
          ).state,
        ).toBe(held ? 'held' : 'free');
      }),
    );
  });

  it('is complete once it is taken, shows when it is renewed, and is free once it is released', () => {
    fc.assert(
      fc.property(record, (lease) => {
        const taken = take(lease, newHolder, clock);
        expect(readHolder(taken)).toEqual({
          held: true,
          holder: 'pod_1',
          duration: 15_000,
        });
        expect(Object.values(taken.spec!)).not.toContain(undefined);
        const { leaseTransitions } = taken.spec!;
        expect(leaseTransitions).toBeLessThan(2 ** 31);
        expect(fingerprint(renew(taken, 15_000, clock))).not.toBe(
          fingerprint(taken),
        );
        const released = release(taken);
        expect(readHolder(released)).toEqual({ held: false });
        expect(released.spec).toEqual({
          ...('futureField' in (lease.spec ?? {})
            ? { futureField: lease.spec!.futureField }
            : {}),
          leaseTransitions,
        });
        for (const write of [taken, released]) {
          expect(write.metadata).toMatchObject({
            uid: lease.metadata.uid,
            resourceVersion: lease.metadata.resourceVersion,
          });
        }
      }),
    );
  });
});

describe('MicroTime', () => {
  it('has six fraction digits, and says the same moment', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 4_102_444_800_000_000 }),
        (microseconds) => {
          const text = microTime(microseconds);
          expect(text).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
          expect(Date.parse(text)).toBe(Math.floor(microseconds / 1_000));
          expect(Number(text.slice(-4, -1))).toBe(microseconds % 1_000);
        },
      ),
    );
  });
});
