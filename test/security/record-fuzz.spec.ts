/** Any JSON, read as a record, leads to the right decision or to a typed error, and foreign fields are written back unchanged. */
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  parseObject,
  toStoredLease,
  UnreadableAnswer,
} from '../../lib/kube/api-response.js';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import {
  LeaseStoreError,
  type StoredLease,
} from '../../lib/kube/lease-store.js';
import {
  endClaim,
  judgeClaim,
  readClaim,
} from '../../lib/lock/record/fire-claim.js';
import { describeLock } from '../../lib/lock/record/lock-state.js';
import { ObservedLease } from '../../lib/lock/record/observed-lease.js';
import {
  invalidate,
  isCoordinated,
  isLock,
  retain,
  release,
  renew,
  take,
} from '../../lib/lock/record/lease-record.js';
import { StubApi } from '../kube/stub-api.js';
import { ControlledClock } from '../lock/controlled-clock.js';
import {
  anyJson,
  nearLease,
  text,
  wellFormedLease,
} from './arbitrary-records.js';
import { member, statedBy, type Stated } from './stated.js';

const key = { namespace: 'default', name: 'job' };
const reference = { ...key, leaseName: key.name };
const newHolder = {
  identity: 'pod_1',
  leaseDuration: 15_000,
  lockName: 'Job',
  claimed: 1_767_225_600_000,
} as const;
const clock = new ControlledClock();
const shape = {
  name: key.name,
  uid: fc.constantFrom('u-1', 'u-2'),
  version: fc.nat().map(String),
};
const RUNS = { numRuns: 2_000 };

const CHANGES: [what: string, change: (lease: StoredLease) => StoredLease][] = [
  ['taken', (lease) => take(lease, newHolder, clock)],
  ['renewed', (lease) => renew(lease, 15_000, clock)],
  ['released', (lease) => release(endClaim(lease, 'done'))],
  ['retained', (lease) => retain(lease, 3_000, clock)],
  ['invalidated', (lease) => invalidate(lease, 'nonce')],
];

/** Reads a record as the store does; undefined when that is refused. */
function read(json: string): StoredLease | undefined {
  try {
    return toStoredLease(parseObject(json), key);
  } catch (error) {
    if (error instanceof UnreadableAnswer) {
      return undefined;
    }
    throw error;
  }
}

/** What is decided on a record that was just seen, in the terms of {@link Stated}. */
function decide(lease: StoredLease): Stated {
  const observation = new ObservedLease(clock);
  observation.see(lease);
  const verdict = observation.judge();
  if (verdict.takeable) {
    return { state: 'free' };
  }
  const { holder: by, expiresAt = Infinity } = verdict;
  return { state: 'held', by, seconds: (expiresAt - clock.now()) / 1_000 };
}

/** All else that is read from a record must be of the type that it is said to be. */
function findNonsense(lease: StoredLease): string[] {
  const state = describeLock(reference, lease);
  const { at } = readClaim(lease) ?? {};
  const verdict = judgeClaim(
    {
      at: 0,
      latest: Infinity,
      retry: true,
      ownIdentities: new Set(['pod_1']),
    },
    lease,
    'stranger',
  );
  const claims = {
    'the state is another': state.state !== decide(lease).state,
    'a date is none': Object.values(state).some(
      (value) => value instanceof Date && Number.isNaN(value.getTime()),
    ),
    'the time of the claim is none': Number.isNaN(at),
    'the claim is judged in no way': !VERDICTS.includes(verdict.state),
    'it may be a lock': typeof isLock(lease) !== 'boolean',
    'it may be coordinated': typeof isCoordinated(lease) !== 'boolean',
  };
  return Object.entries(claims)
    .filter(([, isSo]) => isSo)
    .map(([what]) => what);
}

const VERDICTS = ['free', 'taken', 'claimed', 'running', 'own'];

/** What a record comes to, and what it must come to unless it is refused. */
function judge(lease: StoredLease | undefined, json: string) {
  return {
    actual: lease && { ...decide(lease), nonsense: findNonsense(lease) },
    expected: lease && { ...statedBy(JSON.parse(json)), nonsense: [] },
  };
}

/** The names of all that every object inherits. */
const inherited = (): string[] =>
  [Object.prototype, Array.prototype, String.prototype].flatMap((prototype) =>
    Object.getOwnPropertyNames(prototype),
  );

describe('a record', () => {
  it('of any JSON at all is decided as it states, or refused', () => {
    fc.assert(
      fc.property(fc.oneof(anyJson, nearLease(shape)), (json) => {
        const { actual, expected } = judge(read(json), json);
        expect(actual).toEqual(expected);
      }),
      RUNS,
    );
  });

  it('of any text at all is decided as it states, or refused', () => {
    const cut = fc
      .tuple(nearLease(shape), fc.nat(400), fc.nat(5), text)
      .map(
        ([json, at, deleted, inserted]) =>
          json.slice(0, at) + inserted + json.slice(at + deleted),
      );
    fc.assert(
      fc.property(fc.oneof(cut, text), (json) => {
        const { actual, expected } = judge(read(json), json);
        expect(actual).toEqual(expected);
      }),
      RUNS,
    );
  });

  it('that is well-formed is never refused, whatever else is in it', () => {
    fc.assert(
      fc.property(wellFormedLease(shape), (json) => {
        const lease = toStoredLease(parseObject(json), key);
        const { actual, expected } = judge(lease, json);
        expect(actual).toEqual(expected);
      }),
      RUNS,
    );
  });

  it('leaves no trace in what every object inherits', () => {
    const before = inherited();
    fc.assert(
      fc.property(fc.oneof(anyJson, wellFormedLease(shape)), (json) => {
        const lease = read(json);
        const writes = lease && CHANGES.map(([, change]) => change(lease));
        JSON.stringify(writes);
        expect(inherited()).toEqual(before);
      }),
      { numRuns: 500 },
    );
  });
});

describe('over the wire, a record', () => {
  let api: StubApi;
  let store: KubernetesLeaseStore;
  let body: Buffer | string;
  beforeAll(async () => {
    api = await StubApi.start((response, { method, body: sent }) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(method === 'PUT' ? sent : body);
    });
    store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(),
      requestTimeout: 20_000,
    });
  });
  afterAll(async () => {
    store?.close();
    await api?.[Symbol.asyncDispose]();
  });

  it('of any bytes at all is decided as it states, or refused', async () => {
    const bytes = fc
      .uint8Array({ maxLength: 60 })
      .map((each) => Buffer.from(each));
    const damaged = fc
      .tuple(nearLease(shape), fc.nat(400), bytes)
      .map(([json, at, inserted]) => {
        const whole = Buffer.from(json);
        return Buffer.concat([
          whole.subarray(0, at),
          inserted,
          whole.subarray(at + inserted.length),
        ]);
      });
    await fc.assert(
      fc.asyncProperty(fc.oneof(bytes, damaged), async (sent) => {
        body = sent;
        const lease = await store.get(key).catch((error: unknown) => {
          if (error instanceof LeaseStoreError && error.reason === 'server') {
            return undefined;
          }
          throw error;
        });
        const { actual, expected } = judge(lease, sent.toString());
        expect(actual).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  it.each(CHANGES)(
    'that is %s keeps all that is of others (R10)',
    async (_, change) => {
      await fc.assert(
        fc.asyncProperty(wellFormedLease(shape), async (json) => {
          body = json;
          const lease = (await store.get(key))!;
          await store.replace(key, change(lease));
          const { body: sent } = api.received.at(-1)!;
          expect(ofOthers(sent)).toBe(ofOthers(json));
          expect(member(JSON.parse(sent), 'metadata')).toMatchObject({
            uid: lease.metadata.uid,
            resourceVersion: lease.metadata.resourceVersion,
            ...key,
          });
        }),
        { numRuns: 200 },
      );
    },
  );
});

/** What this package writes itself, by where it is. */
const OWN: Record<string, readonly string[]> = {
  '': ['apiVersion', 'kind'],
  'metadata/': ['name', 'namespace'],
  'spec/': [
    'holderIdentity',
    'leaseDurationSeconds',
    'acquireTime',
    'renewTime',
    'leaseTransitions',
  ],
};
const OWN_ANNOTATION = /^nestjs-k8s-lock\/(?!.*\/)/;

/** All else that is in a record, in one form: to tell whether it is the same. */
function ofOthers(json: string): string {
  const describeValue = (value: unknown, path: string): string => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return Array.isArray(value)
        ? `[${value.map((item) => describeValue(item, `${path}[]/`)).join()}]`
        : JSON.stringify(value);
    }
    const members = Object.keys(value)
      .filter(
        (name) =>
          !OWN[path]?.includes(name) &&
          !(path === 'metadata/annotations/' && OWN_ANNOTATION.test(name)),
      )
      .toSorted()
      .map(
        (name) =>
          `${JSON.stringify(name)}:${describeValue(member(value, name), `${path}${name}/`)}`,
      )
      // A record without a spec or annotations is given some.
      .filter((each) => !/^"(spec|annotations)":(null|\{\})$/.test(each));
    return `{${members.join()}}`;
  };
  return describeValue(JSON.parse(json), '');
}
