/** The rights that README.md asks for are enough, each of them is needed, and what lacks is told: on the embedded API server and on the real one. */
import { Injectable } from '@nestjs/common';
import { firstValueFrom, filter, timeout } from 'rxjs';
import { describe, expect, inject, it } from 'vitest';
import {
  WithLeaseLock,
  type LockEvent,
  type LockService,
} from '../../lib/index.js';
import {
  applyToEmbedded,
  applyToReal,
  changeRules,
  readManifests,
  type ApplyManifests,
  type Manifest,
} from './manifests.js';
import { findBlocks, findCode, findTable } from './readme.js';

@Injectable()
class Jobs {
  @WithLeaseLock('nightly-report', { onLocked: 'skip' })
  async nightly() {
    return 'ran';
  }

  @WithLeaseLock('invoices', { onLocked: 'skip' })
  async invoices() {
    return 'ran';
  }
}

const role = readManifests('role');
/** A Role by names is bound to the service account as the other Role is. */
const roleForNames = [
  ...role.filter(({ kind }) => kind !== 'Role'),
  ...readManifests('role-for-names'),
];
const lease = readManifests('lease');

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

/** What it comes to when a verb is missing, by the row of the table. */
const WITHOUT: Record<string, (apply: ApplyManifests) => Promise<void>> = {
  get: async (apply) => {
    await using cluster = await apply(without(role, ['get']));
    const { locks } = await cluster.startPod({ verifyAtStartup: false });
    await expect(locks.acquire('import')).rejects.toThrow(
      'Grant these credentials the verb "get"',
    );
  },

  update: async (apply) => {
    await using cluster = await apply([...without(role, ['update']), ...lease]);
    const { locks } = await cluster.startPod({ verifyAtStartup: false });
    await expect(locks.acquire('nightly-report')).rejects.toThrow(
      'Grant these credentials the verb "update"',
    );
  },

  create: async (apply) => {
    await using cluster = await apply([...without(role, ['create']), ...lease]);
    const { locks } = await cluster.startPod({ createLease: false });
    await using lock = await locks.acquire('nightly-report');
    expect(lock.isHeld).toBe(true);
    await expect(locks.acquire('invoices')).rejects.toThrow(
      'the Lease does not exist and createLease is false',
    );
    await expect(
      locks.acquire('invoices', { createLease: true }),
    ).rejects.toThrow('Grant these credentials the verb "create"');
  },

  'list, watch': async (apply) => {
    await using cluster = await apply(without(role, ['list', 'watch']));
    const options = { verifyAtStartup: false, retryInterval: 50 } as const;
    const [one, two] = [
      await cluster.startPod(options),
      await cluster.startPod(options),
    ];
    const lock = await one.locks.acquire('import');
    const isWaiting = nextEvent(two.locks, 'waiting');
    const next = two.locks.acquire('import');
    await isWaiting;
    await lock.release();
    await using _ = await next;
    await expect(one.locks.list()).rejects.toThrow(
      'Grant these credentials the verb "list"',
    );
  },

  delete: async (apply) => {
    await using cluster = await apply(role);
    const { locks } = await cluster.startPod({
      verifyAtStartup: false,
      deleteOnRelease: true,
      leaseDuration: 1_000,
    });
    const failed = nextEvent(locks, 'backend-error');
    const lock = await locks.acquire('import');
    const released = lock.release();
    expect(await failed).toMatchObject({
      operation: 'release',
      error: {
        message: expect.stringContaining(
          'Grant these credentials the verb "delete"',
        ),
      },
    });
    await released;
    expect(await locks.inspect('import')).toMatchObject({
      holder: lock.holderIdentity,
    });
  },
};

it('has a test for each manifest', () => {
  expect(findBlocks('yaml').map(({ id }) => id)).toEqual([
    'role',
    'role-for-names',
    'lease',
  ]);
});

describe.each([
  { server: 'embedded', apply: applyToEmbedded, skipped: undefined },
  { server: 'real', apply: applyToReal, ...inject('kubeApiserver') },
])('on the $server API server', ({ apply, skipped }) => {
  const rows = findTable('## Rights (RBAC)').map(([verbs = '']) =>
    findCode(verbs),
  );
  const reason = skipped === undefined ? '' : `; skipped: ${skipped}`;

  describe.skipIf(skipped)(`the Role${reason}`, () => {
    it('is enough for locks of any name', async () => {
      await using cluster = await apply(role);
      const [one, two] = [
        (await cluster.startPod()).locks,
        (await cluster.startPod({ retryInterval: 60_000 })).locks,
      ];
      const renewed = nextEvent(one, 'renewed');
      const lock = await one.acquire('import', { renewInterval: 50 });
      await renewed;

      const isWaiting = nextEvent(two, 'waiting');
      const next = two.acquire('import');
      await isWaiting;
      await lock.release();
      const { holderIdentity, signal } = await next;

      expect(await one.inspect('import')).toMatchObject({
        holder: holderIdentity,
      });
      expect(await one.list()).toMatchObject([{ name: 'import' }]);
      expect(await one.forceRelease('import')).toMatchObject({
        holder: holderIdentity,
      });
      expect(signal.aborted).toBe(false); // it has not learned of it yet
    });

    it.each(rows)('needs %s', async (...verbs) => {
      const options = { deleteOnRelease: verbs.includes('delete') };
      await using cluster = await apply(without(role, verbs));
      await expect(cluster.startPod(options)).rejects.toThrow(
        `may not ${verbs[0]} leases.coordination.k8s.io in namespace`,
      );
      await WITHOUT[verbs.join(', ')]!(apply);
    });
  });

  describe.skipIf(skipped)(`the Role for names${reason}`, () => {
    it('is enough for the locks that it names, and for no others', async () => {
      await using cluster = await apply(roleForNames);
      const jobs = { providers: [Jobs] };
      const one = await cluster.startPod({ retryInterval: 60_000 }, jobs);
      const two = await cluster.startPod({}, jobs);
      expect(await one.get(Jobs).invoices()).toBe('ran');
      const lock = await one.locks.acquire('nightly-report', {
        leaseDuration: 1_000,
        renewInterval: 50,
      });
      expect(await two.get(Jobs).nightly()).toBeUndefined();
      const next = one.locks.acquire('nightly-report');
      await lock.release();
      await (await next).release();
      await expect(one.locks.acquire('other')).rejects.toThrow(
        'Grant these credentials the verb "get" on leases.coordination.k8s.io in namespace',
      );
    });

    it('does without create, where the Leases are there', async () => {
      const [byName] = readManifests('role-for-names').map(
        ({ rules = [] }) => rules,
      );
      await using cluster = await apply([
        ...changeRules(roleForNames, () => byName!.slice(0, 1)),
        ...lease,
      ]);
      const pod = await cluster.startPod(
        { createLease: false },
        { providers: [Jobs] },
      );
      const jobs = pod.get(Jobs);
      expect(await jobs.nightly()).toBe('ran');
      await expect(jobs.invoices()).rejects.toThrow(
        'the Lease does not exist and createLease is false',
      );
    });

    it('can not be checked for names that only LockService is given', async () => {
      await using cluster = await apply(roleForNames);
      await expect(cluster.startPod()).rejects.toThrow('may not get');
      const { locks } = await cluster.startPod({ verifyAtStartup: false });
      await using lock = await locks.acquire('invoices');
      expect(lock.isHeld).toBe(true);
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
