/** The tables of README.md say what the code says: members, events, errors, k8slock's options, versions. */
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import * as lib from '../../lib/index.js';
import {
  LockBackendError,
  LockConfigurationError,
  LockLostError,
  LockNotAcquiredError,
  type LeaseLock,
  type LockBackendReason,
  type LockError,
  type LockEvent,
  type LockLossReason,
  type LockNotAcquiredEvent,
  type LockNotAcquiredReason,
  type LockReference,
  type LockSkippedEvent,
} from '../../lib/index.js';
import { METRIC } from '../../lib/telemetry/telemetry-names.js';
import { findCode, findTable, findTables, keysOf, namesIn } from './readme.js';

it('the handle has the members of LeaseLock', () => {
  expect(namesIn(findTable('### The handle')).toSorted()).toEqual(
    keysOf<Exclude<keyof LeaseLock, symbol>>({
      name: true,
      namespace: true,
      leaseName: true,
      holderIdentity: true,
      fencingToken: true,
      signal: true,
      isHeld: true,
      assertHeld: true,
      release: true,
      toJSON: true,
    }).toSorted(),
  );
});

const [ofEvents = [], ofReasons = []] = findTables('### Events');

it('the events carry what their types say', () => {
  type Carried<Type> = Exclude<
    keyof Extract<LockEvent, { type: Type }>,
    keyof LockReference | 'type' | 'method'
  >;
  const carried: {
    [Type in LockEvent['type']]: Record<Carried<Type>, true>;
  } = {
    waiting: {},
    acquired: { fencingToken: true, holder: true, fire: true, waited: true },
    'not-acquired': { reason: true, holder: true, error: true, waited: true },
    renewed: { fencingToken: true },
    released: { fencingToken: true, held: true },
    skipped: { reason: true, holder: true, fire: true, waited: true },
    executed: { fencingToken: true, fire: true, duration: true },
    failed: { fencingToken: true, fire: true, duration: true, error: true },
    lost: { fencingToken: true, reason: true, held: true },
    'backend-error': { operation: true, error: true },
  };
  expect(
    ofEvents.map(([type = '', , keys = '']) => [nameIn(type), findCode(keys)]),
  ).toEqual(
    Object.entries(carried).map(([type, keys]) => [type, Object.keys(keys)]),
  );
});

it('the events have their reasons', () => {
  const reasons = {
    'not-acquired': keysOf<LockNotAcquiredEvent['reason']>({
      timeout: true,
      held: true,
      shutdown: true,
      cancelled: true,
      failed: true,
    }),
    skipped: keysOf<LockSkippedEvent['reason']>({
      held: true,
      'fire-claimed': true,
      shutdown: true,
    }),
  };
  expect(ofReasons.map(([type = '', reason = '']) => [type, reason])).toEqual(
    Object.entries(reasons).flatMap(([type, each]) =>
      each.map((reason, i) => [i === 0 ? `\`${type}\`` : '', `\`${reason}\``]),
    ),
  );
});

it('the metrics are those that are recorded', () => {
  expect(namesIn(findTable('### Metrics and spans'))).toEqual(
    Object.values(METRIC),
  );
});

it('the errors have their statuses and reasons', () => {
  const lock = { name: 'a', namespace: 'b', leaseName: 'a' };
  const errors: {
    error: LockError;
    /** As it is when the application closes. */
    closing?: LockError;
    reasons: string[];
  }[] = [
    {
      error: new LockNotAcquiredError(lock, 'held'),
      closing: new LockNotAcquiredError(lock, 'shutdown'),
      reasons: keysOf<LockNotAcquiredReason>({
        timeout: true,
        held: true,
        shutdown: true,
        cancelled: true,
      }),
    },
    {
      error: new LockLostError(lock, 'deadline'),
      reasons: keysOf<LockLossReason>({
        deadline: true,
        taken: true,
        freed: true,
        deleted: true,
        'max-hold': true,
        shutdown: true,
        released: true,
      }),
    },
    {
      error: new LockBackendError(lock, 'network', { message: '' }),
      reasons: keysOf<LockBackendReason>({
        conflict: true,
        'not-found': true,
        forbidden: true,
        unauthorized: true,
        invalid: true,
        throttled: true,
        server: true,
        timeout: true,
        network: true,
        aborted: true,
        'lease-missing': true,
        'lease-refused': true,
      }),
    },
    { error: new LockConfigurationError(['']), reasons: [] },
  ];
  const exported = Object.keys(lib).filter(
    (name) => name.endsWith('Error') && name !== 'LockError',
  );
  expect(errors.map(({ error }) => error.constructor.name).toSorted()).toEqual(
    exported.toSorted(),
  );
  expect(
    findTable('## Errors and HTTP answers').map(
      ([name = '', status, reasons = '']) => [
        nameIn(name),
        status,
        findCode(reasons),
      ],
    ),
  ).toEqual(
    errors.map(({ error, closing, reasons }) => [
      error.constructor.name,
      closing === undefined
        ? String(error.getStatus())
        : `${error.getStatus()}, or ${closing.getStatus()} when the application closes`,
      reasons,
    ]),
  );
});

it('every option of k8slock has its counterpart', () => {
  const rows = findTable('## Coming from k8slock');
  expect(rows.flatMap(([theirs = '']) => firstWords(theirs))).toEqual([
    'NewLocker',
    'Lock',
    'LockContext',
    'Unlock',
    'UnlockContext',
    'TTL',
    'TTL',
    'RetryWaitDuration',
    'InClusterConfig',
    'Clientset',
    'Namespace',
    'ClientID',
    'CreateLease',
  ]);
  const known = [
    ...findTables('## Options').flatMap(namesIn),
    ...Object.getOwnPropertyNames(lib.LockService.prototype),
    'lock', // lock.release()
  ];
  expect(
    rows
      .flatMap(([, ours = '']) => firstWords(ours))
      .filter((name) => !known.includes(name)),
  ).toEqual([]);
});

it('the versions are those of package.json and of the test cluster', async () => {
  const root = new URL('../../', import.meta.url);
  const read = (path: string) => readFile(new URL(path, root), 'utf8');
  const { engines, peerDependencies: peers } = JSON.parse(
    await read('package.json'),
  );
  const [, kubernetes] = /k8s\.io\/kubernetes v(\d+\.\d+)/.exec(
    await read('test/kube-apiserver/go.mod'),
  )!;
  const [scheduleOf11, scheduleOf12] = await Promise.all(
    ['nest-11', 'nest-12'].map(async (folder) => {
      const path = `test/combinations/${folder}/package.json`;
      const { dependencies } = JSON.parse(await read(path));
      return majors(dependencies['@nestjs/schedule']);
    }),
  );
  const versions = Object.fromEntries(
    findTable('## Compatibility').map(([name = '', range]) => [
      name.replaceAll('`', ''),
      range,
    ]),
  );
  expect(versions).toEqual({
    'Node.js': engines.node.replace('>=', '>= ').replace(/\.0$/, ''),
    NestJS: majors(peers['@nestjs/core']),
    '@kubernetes/client-node': `${peers['@kubernetes/client-node']
      .replaceAll('.0', '')
      .replace(' || ', ' and ')} (2.x needs Node.js 22)`,
    RxJS: peers.rxjs.replace(/\.0$/, ''),
    '@nestjs/schedule': `tested: ${scheduleOf11} with Nest 11, ${scheduleOf12} with Nest 12`,
    '@nestjs/terminus': majors(peers['@nestjs/terminus']),
    '@opentelemetry/api': peers['@opentelemetry/api'].replace(/\.0$/, ''),
    Kubernetes: expect.stringContaining(`tested on ${kubernetes}`),
  });
});

function nameIn(cell: string): string {
  return findCode(cell)[0]!;
}

/** What the code spans of a cell begin with. */
function firstWords(cell: string): string[] {
  return findCode(cell).map((code) => /^\w+/.exec(code)![0]);
}

/** `^11.0.0` as `11`. */
function majors(range: string): string {
  return range
    .replaceAll(/\^(\d+)\.\d+\.\d+/g, '$1')
    .replaceAll(' || ', ' and ');
}
