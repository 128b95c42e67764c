/** The watch of all Leases of a namespace: a list after every gap, each change once, in order. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import type { StoredLease } from '../../lib/kube/lease-store.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { eventually } from '../support/eventually.js';

const namespace = 'default';
/** Requests about the whole namespace, not about one Lease. */
const whole = {
  where: ({ name }: { name?: string }): boolean => name === undefined,
};

let server: LeaseApiServer;
let store: KubernetesLeaseStore;
/** What was told, of Leases by their `leaseTransitions`. */
let told: string[];
let watch: { close(): void } | undefined;

const show = ({ metadata, spec }: StoredLease): string =>
  `${metadata.name}=${spec?.leaseTransitions}`;

beforeEach(async () => {
  server = await LeaseApiServer.start();
  store = new KubernetesLeaseStore({
    kubeConfig: await server.kubeConfig(),
    // Longer than a test waits: what is held must not go on by itself.
    requestTimeout: 60_000,
    watch: { backoff: 10, backoffLimit: 20, shortLife: 0 },
  });
  told = [];
});

afterEach(async () => {
  watch?.close();
  store.close();
  await server.stop();
});

function open(): void {
  watch = store.watchAll(namespace, {
    listed: (leases) => told.push(`all: ${leases.map(show).join(' ')}`),
    changed: (lease) => told.push(show(lease)),
    deleted: (name) => told.push(`${name} is gone`),
    resumed: () => told.push('resumed'),
    failed: () => told.push('failed'),
  });
}

async function tells(last: RegExp): Promise<void> {
  await eventually(() => {
    expect(told.at(-1)).toMatch(last);
  });
}

async function mark(name: string, leaseTransitions: number): Promise<void> {
  const key = { namespace, name };
  const before = await store.get(key);
  const spec = { holderIdentity: 'a', leaseTransitions };
  await (before
    ? store.replace(key, { ...before, spec })
    : store.create(key, { metadata: { name }, spec }));
}

async function remove(name: string): Promise<void> {
  const key = { namespace, name };
  const lease = await store.get(key);
  await store.delete(key, lease!.metadata);
}

it('tells all again after a gap whose changes the server does not know any more', async () => {
  await mark('kept', 1);
  await mark('removed', 1);
  open();
  await tells(/^all:/);
  expect(told).toEqual(['all: kept=1 removed=1']);
  const held = server.faults.inject(
    { kind: 'hold', when: 'before' },
    { ...whole, verb: 'list' },
  );
  server.killWatches('expired');
  await held.hit();
  await mark('kept', 2);
  await remove('removed');
  await mark('new', 1);
  server.compact();
  held.remove();
  await tells(/^all: kept=2 new=1$/);
  await mark('new', 2);
  await tells(/^new=2$/);
  expect(told).toEqual(['all: kept=1 removed=1', 'all: kept=2 new=1', 'new=2']);
});

it('tells only the changes after a gap whose changes the server knows', async () => {
  await mark('kept', 1);
  open();
  await tells(/^all:/);
  const held = server.faults.inject(
    { kind: 'hold', when: 'before' },
    { ...whole, verb: 'watch' },
  );
  server.killWatches('reset');
  await held.hit();
  await mark('kept', 2);
  await mark('new', 1);
  await remove('new');
  held.remove();
  await tells(/^new is gone$/);
  expect(told.filter((each) => each !== 'resumed')).toEqual([
    'all: kept=1',
    'kept=2',
    'new=1',
    'new is gone',
  ]);
});

it('tells the changes that came while the list was on the way, after it', async () => {
  await mark('early', 1);
  // The first list is of the watch, the second one is the one that is told.
  const first = server.faults.inject(
    { kind: 'hold', when: 'after' },
    { ...whole, verb: 'list', times: 1 },
  );
  open();
  await first.hit();
  const answered = server.faults.inject(
    { kind: 'hold', when: 'after' },
    { ...whole, verb: 'list' },
  );
  first.remove();
  await answered.hit();
  // The answer that is held has `early` as it was.
  await mark('early', 2);
  await mark('later', 1);
  await remove('early');
  answered.remove();
  await tells(/^early is gone$/);
  expect(told).toEqual(['all: early=1', 'early=2', 'later=1', 'early is gone']);
});

it('says that it fails without the right to list, and goes on with it', async () => {
  await mark('kept', 1);
  open();
  await tells(/^all:/);
  const refused = server.faults.inject(
    { kind: 'status', code: 403 },
    { ...whole, verb: 'list' },
  );
  server.killWatches('expired');
  await tells(/^failed$/);
  await mark('kept', 2);
  refused.remove();
  await tells(/^all: kept=2$/);
  expect(told).not.toContain('kept=2');
});
