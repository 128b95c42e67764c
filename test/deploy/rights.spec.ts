/** The rights of the manifests are enough, each of them is needed, and a missing one is named: on the embedded API server and on the real one. */
import { Injectable } from '@nestjs/common';
import { loadAllYaml } from '@kubernetes/client-node';
import { firstValueFrom, filter, timeout } from 'rxjs';
import { describe, expect, inject, it } from 'vitest';
import {
  WithLeaseLock,
  type LockEvent,
  type LockService,
} from '../../lib/index.js';
import {
  apply,
  changeRules,
  readManifests,
  type Manifest,
} from './manifests.js';
import { findBlock, findBlocks, findCode, findTable } from '../docs/pages.js';

@Injectable()
class Jobs {
  @WithLeaseLock('nightly-report', { onLocked: 'skip' })
  async nightly(): Promise<string | undefined> {
    return 'ran';
  }

  @WithLeaseLock('invoices', { onLocked: 'skip' })
  async invoices(): Promise<string | undefined> {
    return 'ran';
  }
}

@Injectable()
class OneJob {
  @WithLeaseLock('nightly-report', { onLocked: 'skip' })
  async nightly(): Promise<string | undefined> {
    return 'ran';
  }
}

const anyLock = readManifests('kustomize/base/any-lock');
const namedLocks = readManifests('named-locks');
const oneLock = readManifests('one-lock');
const sessions = readManifests('sessions');
const lease = oneLock.filter(({ kind }) => kind === 'Lease');

/** Renewed at once, and not lost on a machine that is busy for seconds. */
const LIVELY = { renewInterval: 50 };

/** What the holder of a lock that was taken away by force warns of; any other warning is of a right. */
const FORCED = expect.stringContaining('its release was forced');

const without = (
  manifests: readonly Manifest[],
  verbs: readonly string[],
): Manifest[] =>
  changeRules(manifests, (rules) =>
    rules.map((rule) => ({
      ...rule,
      verbs: rule.verbs.filter((verb) => !verbs.includes(verb)),
    })),
  );

/** An error whose explanation has this text. */
const explained = (text: string) => ({
  explanation: expect.stringContaining(text),
});

const grant = (verb: string): string =>
  `Grant these credentials the verb "${verb}" on leases.coordination.k8s.io in namespace `;

/** A lock goes from pod to pod by polling alone, and the watch that fails is told. */
const passesOnByPolling = async (verb: string) => {
  await using cluster = await apply(without(anyLock, [verb]));
  const options = { verifyAtStartup: false, retryInterval: 50 } as const;
  const [one, two] = [
    await cluster.startPod(options),
    await cluster.startPod(options),
  ];
  const lock = await one.locks.acquire('import');
  const failed = nextEvent(two.locks, 'backend-error');
  const next = two.locks.acquire('import');
  expect(await failed).toMatchObject({
    operation: 'watch',
    leaseName: 'import',
    error: explained(grant(verb)),
  });
  await lock.release();
  await using _ = await next;
};

/** What it comes to when a verb is missing, by the row of the table. */
const WITHOUT: Record<string, () => Promise<void>> = {
  get: async () => {
    await using cluster = await apply(without(anyLock, ['get']));
    const { locks } = await cluster.startPod({ verifyAtStartup: false });
    for (const call of [
      () => locks.acquire('import'),
      () => locks.tryAcquire('import'),
      () => locks.inspect('import'),
      () => locks.forceRelease('import'),
    ]) {
      await expect(call).rejects.toMatchObject(explained(grant('get')));
    }
  },

  update: async () => {
    await using cluster = await apply([
      ...without(anyLock, ['update']),
      ...lease,
    ]);
    const { locks, warnings } = await cluster.startPod({
      verifyAtStartup: false,
      leaseDuration: 1_000, // lost soon
      ...LIVELY,
    });
    await expect(locks.acquire('nightly-report')).rejects.toMatchObject(
      explained(grant('update')),
    );

    const failed = nextEvent(locks, 'backend-error');
    const lost = nextEvent(locks, 'lost');
    const created = await locks.acquire('import');
    expect(await failed).toMatchObject({
      operation: 'renew',
      error: explained(grant('update')),
    });
    expect(await lost).toMatchObject({ reason: 'deadline' });
    expect(created.signal.aborted).toBe(true);
    await expect(locks.forceRelease('import')).rejects.toMatchObject(
      explained(grant('update')),
    );
    expect(warnings.join('\n')).toContain(grant('update'));
  },

  create: async () => {
    await using cluster = await apply([
      ...without(anyLock, ['create']),
      ...lease,
    ]);
    const { locks } = await cluster.startPod({ createLease: false });
    await using lock = await locks.acquire('nightly-report');
    expect(lock.isHeld).toBe(true);
    await expect(locks.acquire('invoices')).rejects.toThrow(
      'its Lease does not exist, and createLease is false',
    );
    await expect(
      locks.acquire('invoices', { createLease: true }),
    ).rejects.toMatchObject(explained(grant('create')));
  },

  watch: () => passesOnByPolling('watch'),

  list: async () => {
    await passesOnByPolling('list');
    await using cluster = await apply(without(anyLock, ['list']));
    const { locks } = await cluster.startPod({ verifyAtStartup: false });
    await expect(locks.list()).rejects.toMatchObject(explained(grant('list')));
  },

  delete: async () => {
    await using cluster = await apply(anyLock);
    const { locks, warnings } = await cluster.startPod({
      verifyAtStartup: false,
      deleteOnRelease: true,
      leaseDuration: 1_000,
    });
    const failed = nextEvent(locks, 'backend-error');
    await (await locks.acquire('import')).release();
    expect(await failed).toMatchObject({
      operation: 'release',
      error: explained(grant('delete')),
    });
    expect(warnings.join('\n')).toContain(grant('delete'));
    expect(await locks.inspect('import')).toMatchObject({
      exists: true,
      state: 'free',
    });
  },
};

const inBlock = (id: string): Manifest[] => loadAllYaml(findBlock(id).code);

it('has no manifest on the page that is not in deploy/', () => {
  expect(inBlock('role')).toEqual(
    anyLock.filter(({ kind }) => kind !== 'ServiceAccount'),
  );
  expect(inBlock('role-for-names')).toEqual(
    namedLocks.filter(({ kind }) => kind === 'Role'),
  );
  expect(inBlock('role-for-sessions')).toEqual(
    sessions.filter(({ kind }) => kind === 'Role'),
  );
  expect(inBlock('lease')).toEqual(lease);
  expect(findBlocks('yaml')).toHaveLength(4);
});

describe(`on the ${inject('kubeApiserver') ? 'real' : 'embedded'} API server`, () => {
  const rows = findTable('## Rights (RBAC)').flatMap(([verb = '']) =>
    findCode(verb),
  );

  describe('the rights to hold locks under sessions', () => {
    const options = {
      renewal: 'session',
      verifyAtStartup: 'require',
      leaseDuration: 2_000,
    } as const;

    it('are enough, for pods of either kind', async () => {
      await using cluster = await apply(sessions);
      const one = await cluster.startPod(options);
      const two = await cluster.startPod({ ...options, renewal: 'lock' });
      const lock = await one.locks.acquire('import');
      const isWaiting = nextEvent(two.locks, 'waiting');
      const next = two.locks.acquire('import');
      await isWaiting;
      await lock.release();
      await (await next).release();
      expect([one, two].flatMap(({ warnings }) => warnings)).toEqual([]);
    });

    it.each(['create', 'delete', 'update'])(
      'need the verb %s, of any Lease',
      async (verb) => {
        await using cluster = await apply([...without(sessions, [verb])]);
        await expect(
          cluster.startPod({ ...options, createLease: false }),
        ).rejects.toMatchObject(explained(`may not ${verb}`));
      },
    );

    it('can’t be granted by names', async () => {
      await using cluster = await apply(namedLocks);
      await expect(
        cluster.startPod(options, { providers: [Jobs] }),
      ).rejects.toMatchObject(explained('may not get'));
    });
  });

  describe('the rights to any lock', () => {
    it('are enough for locks of any name', async () => {
      await using cluster = await apply(anyLock);
      const pods = [
        await cluster.startPod(),
        await cluster.startPod({ retryInterval: 60_000 }),
      ];
      const [one, two] = [pods[0]!.locks, pods[1]!.locks];
      const renewed = nextEvent(one, 'renewed');
      const lock = await one.acquire('import', LIVELY);
      await renewed;

      const isWaiting = nextEvent(two, 'waiting');
      const next = two.acquire('import', LIVELY);
      await isWaiting;
      await lock.release();
      const { holderIdentity } = await next;

      expect(await one.inspect('import')).toMatchObject({
        holder: holderIdentity,
      });
      expect(await one.list()).toMatchObject([{ name: 'import' }]);
      const lost = nextEvent(two, 'lost');
      expect(await one.forceRelease('import')).toMatchObject({
        holder: holderIdentity,
      });
      await lost;
      expect(pods.flatMap(({ warnings }) => warnings)).toEqual([FORCED]);
    });

    it('show a Lease that was applied, before anybody has held it', async () => {
      await using cluster = await apply([...anyLock, ...lease]);
      const { locks } = await cluster.startPod();
      expect(await locks.list()).toMatchObject([
        { name: 'nightly-report', state: 'free', transitions: 0 },
      ]);
    });

    it('are none outside of the namespace', async () => {
      await using cluster = await apply(anyLock);
      const { locks } = await cluster.startPod();
      const elsewhere = { namespace: 'default' };
      for (const [verb, call] of [
        ['get', () => locks.acquire('import', elsewhere)],
        ['get', () => locks.inspect('import', elsewhere)],
        ['list', () => locks.list(elsewhere)],
      ] as const) {
        await expect(call).rejects.toMatchObject(
          explained(`${grant(verb)}default`),
        );
      }
    });

    it('with delete are enough for deleteOnRelease', async () => {
      await using cluster = await apply(
        changeRules(anyLock, ([rule]) => [
          { ...rule!, verbs: [...rule!.verbs, 'delete'] },
        ]),
      );
      const { locks, warnings } = await cluster.startPod({
        deleteOnRelease: true,
      });
      await (await locks.acquire('import')).release();
      expect(await locks.inspect('import')).toMatchObject({ exists: false });
      expect(warnings).toEqual([]);
    });

    it('do without patch, and say what that costs', async () => {
      await using cluster = await apply(without(anyLock, ['patch']));
      const one = await cluster.startPod();
      const two = await cluster.startPod();
      const lock = await one.locks.acquire('import', LIVELY);
      const isWaiting = nextEvent(two.locks, 'waiting');
      const next = two.locks.acquire('import', LIVELY);
      await isWaiting;
      await lock.release();
      await (await next).release();
      const atStart = expect.stringContaining(
        `may not patch leases.coordination.k8s.io in namespace "${cluster.namespace}", so it can't wait in line`,
      );
      expect(one.warnings).toEqual([atStart]);
      expect(two.warnings).toEqual([
        atStart,
        expect.stringContaining('Grant these credentials the verb "patch"'),
      ]);
    });

    it.each(rows.filter((verb) => verb !== 'patch'))(
      'need %s',
      async (verb) => {
        const options = { deleteOnRelease: verb === 'delete' };
        await using cluster = await apply(without(anyLock, [verb]));
        await expect(cluster.startPod(options)).rejects.toThrow(
          `may not ${verb} leases.coordination.k8s.io in namespace`,
        );
        await WITHOUT[verb]!();
      },
    );
  });

  describe('the rights to named locks', () => {
    it('are enough for the locks that they name, and for no others', async () => {
      await using cluster = await apply(namedLocks);
      const jobs = { providers: [Jobs] };
      const one = await cluster.startPod({ retryInterval: 60_000 }, jobs);
      const two = await cluster.startPod({}, jobs);
      expect(await one.get(Jobs).invoices()).toBe('ran');
      const lock = await one.locks.acquire('nightly-report', LIVELY);
      expect(await two.get(Jobs).nightly()).toBeUndefined();
      const next = one.locks.acquire('nightly-report');
      await lock.release();
      await (await next).release();
      await expect(one.locks.acquire('other')).rejects.toMatchObject(
        explained(grant('get')),
      );
      await expect(one.locks.list()).rejects.toMatchObject(
        explained(grant('list')),
      );
      expect([...one.warnings, ...two.warnings]).toEqual([]);
    });

    it('can not be checked for names that only LockService is given', async () => {
      await using cluster = await apply(namedLocks);
      await expect(cluster.startPod()).rejects.toThrow('may not get');
      const { locks } = await cluster.startPod({ verifyAtStartup: false });
      await using lock = await locks.acquire('invoices');
      expect(lock.isHeld).toBe(true);
    });
  });

  describe('the rights to one lock', () => {
    const withoutCreation = { createLease: false };
    const job = { providers: [OneJob] };

    it('are enough for everything about it', async () => {
      await using cluster = await apply(oneLock);
      const options = { ...withoutCreation, retryInterval: 60_000 };
      const one = await cluster.startPod(options, job);
      const two = await cluster.startPod(options, job);
      expect(await one.get(OneJob).nightly()).toBe('ran');

      const renewed = nextEvent(one.locks, 'renewed');
      const lock = await one.locks.acquire('nightly-report', LIVELY);
      await renewed;
      expect(await two.get(OneJob).nightly()).toBeUndefined();
      const isWaiting = nextEvent(two.locks, 'waiting');
      const next = two.locks.acquire('nightly-report', LIVELY);
      await isWaiting;
      await lock.release();
      const { holderIdentity } = await next;
      expect(await one.locks.inspect('nightly-report')).toMatchObject({
        holder: holderIdentity,
      });
      const lost = nextEvent(two.locks, 'lost');
      expect(await one.locks.forceRelease('nightly-report')).toMatchObject({
        holder: holderIdentity,
      });
      await lost;
      expect([...one.warnings, ...two.warnings]).toEqual([FORCED]);
    });

    it('are none to another one, nor to create any', async () => {
      await using cluster = await apply(oneLock);
      const { locks } = await cluster.startPod(withoutCreation, job);
      await expect(locks.acquire('invoices')).rejects.toMatchObject(
        explained(grant('get')),
      );
      await expect(cluster.startPod({}, job)).rejects.toThrow('may not create');
    });

    it.each(['get', 'list', 'watch', 'update'])('need %s', async (verb) => {
      await using cluster = await apply(without(oneLock, [verb]));
      await expect(cluster.startPod(withoutCreation, job)).rejects.toThrow(
        `may not ${verb} leases.coordination.k8s.io in namespace`,
      );
    });
  });
});

function nextEvent(
  locks: LockService,
  type: LockEvent['type'],
): Promise<LockEvent> {
  return firstValueFrom(
    locks.events$.pipe(
      filter((event) => event.type === type),
      timeout(10_000),
    ),
  );
}
