/** What the record of a lock or a session tells, as `inspect`, `list` and `listSessions` return it. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Lease, StoredLease } from '../../lib/kube/lease-store.js';
import { systemClock } from '../../lib/lock/clock.js';
import { describeLocks, describeSessions } from '../../lib/lock/lock-engine.js';
import { encodeLockName } from '../../lib/lock/lease-name.js';
import { beginClaim, endClaim } from '../../lib/lock/record/fire-claim.js';
import {
  annotate,
  createFree,
  grant,
  newHolderIdentity,
  release,
  renew,
  take,
} from '../../lib/lock/record/lease-record.js';
import { ticketAnnotation } from '../../lib/lock/record/line.js';
import {
  clientIdOf,
  describeLock,
  describeSession,
} from '../../lib/lock/record/lock-state.js';
import { HOSTILE_TEXTS } from '../security/hostile-text.js';

const lock = { name: 'job', namespace: 'default', leaseName: 'job' };
const free: StoredLease = stored({
  ...createFree({ namespace: 'default', name: 'job' }),
});
const identity = newHolderIdentity('pod-a');

function stored({ metadata, ...rest }: Lease): StoredLease {
  return { ...rest, metadata: { ...metadata, uid: 'u', resourceVersion: '7' } };
}

function taken(holder = identity, claimed?: number): StoredLease {
  return take(
    free,
    { identity: holder, leaseDuration: 15_000, lockName: 'job', claimed },
    systemClock,
  );
}

describe('the state of a lock', () => {
  it('has those in line, first in line first', () => {
    const line = [9n, 10n, 3n].map((number) => ({
      identity: newHolderIdentity(`pod-${number}`),
      number,
      seconds: 15,
    }));
    const lease = annotate(
      taken(),
      Object.assign({}, ...line.map(ticketAnnotation)),
    );
    expect(describeLock(lock, lease).waiting).toEqual([
      { clientId: 'pod-3', holder: line[2]!.identity },
      { clientId: 'pod-9', holder: line[0]!.identity },
      { clientId: 'pod-10', holder: line[1]!.identity },
    ]);
  });

  it('tells a grant until its holder renews', () => {
    const next = newHolderIdentity('pod-b');
    const granted = grant(
      taken(),
      {
        ticket: { identity: next, number: 1n, seconds: 15 },
        lockName: 'job',
        duration: 3_000,
        inRow: 0,
      },
      systemClock,
    );
    expect(describeLock(lock, granted)).toMatchObject({
      holder: next,
      granted: true,
      leaseDuration: 3_000,
    });
    expect(
      describeLock(lock, renew(granted, 15_000, systemClock)),
    ).toMatchObject({ granted: false, leaseDuration: 15_000 });
  });

  it('tells the last fire, and what became of it', () => {
    const claimed = taken(identity, 1_000);
    const fire = { at: new Date(1_000), by: identity };
    const begun = beginClaim(claimed);
    const states = [claimed, begun, release(endClaim(begun, 'done'))];
    expect(states.map((lease) => describeLock(lock, lease).fire)).toEqual([
      { ...fire, state: 'claimed' },
      { ...fire, state: 'begun' },
      { ...fire, state: 'done' },
    ]);
    expect(describeLock(lock, taken()).fire).toBeUndefined();
  });

  it('tells a foreign holder from one of this package', () => {
    expect(describeLock(lock, taken())).toMatchObject({ foreign: false });
    const spec = { ...taken().spec, holderIdentity: 'controller-1' };
    expect(describeLock(lock, { ...taken(), spec })).toMatchObject({
      holder: 'controller-1',
      foreign: true,
    });
  });

  it('has the version, and nothing of a Lease that does not exist', () => {
    expect(describeLock(lock, taken()).version).toBe('7');
    expect(describeLock(lock, null)).toEqual({
      ...lock,
      state: 'free',
      exists: false,
      transitions: 0,
      waiting: [],
    });
  });

  it('can be written as JSON', () => {
    const lease = annotate(taken(identity, 1_000), {
      'nestjs-k8s-lock/permits': '3',
    });
    expect(JSON.parse(JSON.stringify(describeLock(lock, lease)))).toMatchObject(
      { permits: 3, version: '7', fire: { state: 'claimed' } },
    );
  });
});

describe('the state of a session', () => {
  it('is open while it names its process', () => {
    const lease = take(
      free,
      { identity, leaseDuration: 15_000, lockName: 's', isSession: true },
      systemClock,
    );
    expect(describeSessions([free, lease])).toEqual([
      {
        namespace: 'default',
        leaseName: 'job',
        state: 'open',
        holder: identity,
        since: expect.any(Date),
        renewedAt: expect.any(Date),
        leaseDuration: 15_000,
        until: expect.any(Date),
      },
    ]);
    expect(describeLocks([lease], encodeLockName)).toEqual([]);
    expect(describeSession(release(lease))).toEqual({
      namespace: 'default',
      leaseName: 'job',
      state: 'ended',
    });
  });
});

it('the client id is what stands before the nonce, and a foreign identity is its own', () => {
  expect(clientIdOf(newHolderIdentity('pod_1_2'))).toBe('pod_1_2');
  expect(clientIdOf('controller-1_leader')).toBe('controller-1_leader');
});

describe('a hostile record', () => {
  const keys = [
    'nestjs-k8s-lock/fire',
    'nestjs-k8s-lock/permits',
    'nestjs-k8s-lock/grant',
    'nestjs-k8s-lock/acquired-at',
    'nestjs-k8s-lock/session',
    'nestjs-k8s-lock/name',
    'line.nestjs-k8s-lock/n1',
  ];
  const hostile = fc.constantFrom(...Object.values(HOSTILE_TEXTS));

  it('gives a state with the types that it promises, whatever is in it', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom(...keys), hostile),
        hostile,
        (annotations, holderIdentity) => {
          const lease = annotate(
            { ...free, spec: { holderIdentity, leaseTransitions: 1 } },
            annotations,
          );
          const [state] = describeLocks([lease], encodeLockName);
          expect(state).toMatchObject({
            name: 'job',
            leaseName: 'job',
            state: 'held',
            holder: holderIdentity,
            foreign: true,
            waiting: [],
          });
          expect(state!.fire).toBeUndefined();
          expect(state!.permits).toBeUndefined();
        },
      ),
      { numRuns: 50 },
    );
  });
});
