/** R11: a grant is told to its grantee alone, if many are in line behind it. */
import { describe, expect, it } from 'vitest';
import { settled } from './controlled-clock.js';
import {
  held,
  enrol,
  inLine,
  ticketOf,
  writeTickets,
} from './waiting-processes.js';
import type { Pod } from './waiting-processes.js';
import { Cluster, foreignSpec } from './processes.js';

const WAKES = 'nestjs-k8s-lock/wakes';

const wakesOf = (cluster: Cluster): string | undefined =>
  cluster.lease()?.metadata.labels?.[WAKES];

/** What a process hears: the versions that its watches tell, and what each of its watches was limited to. */
function listenTo({ store }: Pod) {
  const heard = { told: 0, selections: [] as (string | undefined)[] };
  const watch = store.watch.bind(store);
  store.watch = (key, observer, selection) => {
    heard.selections.push(selection?.labelSelector);
    return watch(
      key,
      {
        ...observer,
        changed(lease, live) {
          heard.told += 1;
          observer.changed(lease, live);
        },
      },
      selection,
    );
  };
  return heard;
}

/** The lock was passed on to `b`, while five others wait and have looked since: they know whom records are for. */
async function passedOn(options = {}) {
  const world = await held('b', 'c', 'd', 'e', 'f', 'g');
  const { clock, lock, pods } = world;
  const heard = pods.map((pod) => listenTo(pod));
  const waiting = [];
  for (const pod of pods) {
    // oxlint-disable-next-line no-await-in-loop -- in this order
    waiting.push(await enrol(pod, options));
  }
  await lock.release();
  await clock.advance(6_000);
  return { ...world, heard, waiting };
}

/** `c` has the lock from `b`, and nobody else is told. */
async function passedOnTwice(options = {}) {
  const world = await passedOn(options);
  const before = world.heard.map(({ told }) => told);
  await world.waiting[0]!.value!.release();
  await settled();
  return { ...world, before };
}

describe('R11 a grant with many in line', () => {
  it('is for its grantee, until that confirms it', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c', 'd', 'e');
    for (const pod of pods) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await enrol(pod);
    }
    expect(wakesOf(cluster)).toBeUndefined();
    await lock.release();
    expect(cluster.holder()).toBe('b');
    expect(cluster.spec().holderIdentity).toMatch(
      new RegExp(`-8[^_]*${wakesOf(cluster)}$`),
    );
    await clock.advance(2_000);
    expect(wakesOf(cluster)).toBe('all');
  });

  it('is for all if few are in line behind it', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c', 'd');
    const waiting = [];
    for (const pod of pods) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      waiting.push(await enrol(pod));
    }
    await lock.release();
    expect(wakesOf(cluster)).toBeUndefined();
    await clock.advance(10);
    cluster.write(({ metadata }) => {
      metadata.labels = { ...metadata.labels, [WAKES]: 'none' };
    });
    await clock.advance(10);
    await waiting[0]!.value!.release();
    expect(cluster.holder()).toBe('c');
    expect(wakesOf(cluster)).toBe('all');
  });

  it('is not told to the others, who are told again when it is confirmed', async () => {
    const { cluster, clock, heard, before, waiting } = await passedOnTwice();
    expect(waiting[1]!.state).toBe('resolved');
    expect(heard.map(({ told }, n) => told - before[n]!)).toEqual([
      0, 1, 0, 0, 0, 0,
    ]);
    await waiting[1]!.value!.release();
    await settled();
    expect(waiting[2]!.state).toBe('resolved');
    expect(heard.map(({ told }, n) => told - before[n]!)).toEqual([
      0, 1, 1, 0, 0, 0,
    ]);
    await clock.advance(1_500);
    expect(wakesOf(cluster)).toBe('all');
    expect(heard.map(({ told }, n) => told - before[n]!)).toEqual([
      0,
      2,
      2,
      1,
      1,
      1, // c still watches for a call that may follow
    ]);
  });

  it('goes round without another connection for each lock', async () => {
    const { clock, heard, pods, waiting } = await passedOn();
    for (let turn = 0; turn < 30; turn += 1) {
      const at = turn % pods.length;
      // oxlint-disable no-await-in-loop -- one after the other
      await waiting[at]!.value!.release();
      waiting[at] = await enrol(pods[at]!);
      await clock.advance(10);
      // oxlint-enable no-await-in-loop
    }
    const selections = heard.map((each) => each.selections);
    for (const each of selections) {
      expect(each.length).toBeLessThanOrEqual(3);
      expect(each.at(-1)).toMatch(/^nestjs-k8s-lock\/wakes in \(all,\w{8}\)$/);
    }
  });

  it('is for all if the grantee is of a version that does not know whom a record is for', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c', 'd', 'e');
    for (const pod of pods) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await enrol(pod);
    }
    writeTickets(cluster, ticketOf('old', 'n', 1n));
    cluster.write(({ metadata }) => {
      metadata.labels = { ...metadata.labels, [WAKES]: 'none' };
    });
    await clock.advance(10);
    await lock.release();
    expect(cluster.holder()).toBe('old_n');
    expect(inLine(cluster)).toHaveLength(4);
    expect(wakesOf(cluster)).toBe('all');
  });

  it('delays nobody for longer than two looks if its process has died', async () => {
    const { cluster, clock, pods, waiting, heard } = await passedOnTwice();
    const f = pods[4]!.store;
    f.watchesWork = false;
    f.plan({ appliedAfter: Infinity }, ['get', 'create', 'update']);
    for (const each of waiting.slice(1, 4)) {
      // oxlint-disable no-await-in-loop -- one after the other
      await each.value!.release();
      await clock.advance(10);
      // oxlint-enable no-await-in-loop
    }
    const waitingAgain = await enrol(pods[0]!);
    const { told } = heard[0]!;
    await clock.advance(2_900);
    expect(cluster.holder()).toBe('f');
    await clock.advance(2_200);
    expect(cluster.holder()).toBe('g');
    // All are told that the line is gone, and enrol again.
    expect(heard[0]!.told).toBeGreaterThan(told);
    expect(inLine(cluster)).toEqual(['b']);
    await waiting[5]!.value!.release();
    await settled();
    expect(waitingAgain.state).toBe('resolved');
  });
});

describe('R11 a process that is not told', () => {
  it('looks before it takes what seems to have expired', async () => {
    const { cluster, clock, pods, waiting } = await passedOnTwice({
      retryInterval: 300,
    });
    const { store } = pods[0]!;
    await enrol(pods[0]!, { retryInterval: 60_000 });
    const sent = store.requests.length;
    for (const at of [1, 2, 3, 4]) {
      // oxlint-disable no-await-in-loop -- one after the other
      await clock.advance(900);
      await waiting[at]!.value!.release();
      await enrol(pods[at]!, { retryInterval: 300 });
      // oxlint-enable no-await-in-loop
    }
    expect(cluster.holder()).toBe('g');
    // It has seen nothing since it enrolled under the grant of c.
    expect(store.verbs().split(' ').slice(sent)).toEqual(['get']);
  });

  it('looks at the record when it comes back', async () => {
    const { clock, pods, waiting } = await passedOnTwice();
    const b = pods[0]!.store;
    const sent = b.requests.length;
    await clock.advance(100);
    await waiting[1]!.value!.release();
    await enrol(pods[0]!);
    expect(b.requests.slice(sent).map(({ verb }) => verb)).toEqual([
      'get',
      'patch',
    ]);
  });

  it('does not take what is not told for a deletion', async () => {
    const { cluster, clock, pods, waiting } = await passedOnTwice();
    const sent = pods[3]!.store.requests.length;
    await clock.advance(100);
    expect(pods[3]!.store.requests).toHaveLength(sent);
    expect(waiting[3]!.state).toBe('pending');
    expect(cluster.holder()).toBe('c');
  });

  it('hears of a deletion by a look', async () => {
    const { cluster, clock, waiting } = await passedOnTwice();
    cluster.delete();
    await clock.advance(2_000);
    expect(waiting.slice(2).some(({ state }) => state === 'resolved')).toBe(
      true,
    );
  });

  it('is told of all again when others use the watch, too', async () => {
    const { heard, pods } = await passedOn();
    expect(heard[4]!.selections.at(-1)).toBeDefined();
    pods[4]!.observe();
    await settled();
    expect(heard[4]!.selections.at(-1)).toBeUndefined();
  });

  it.each([
    [
      'a holder of another version',
      (lease) => {
        lease.metadata.annotations['nestjs-k8s-lock/acquired-at'] =
          'now by old_n';
        lease.spec.holderIdentity = 'old_n';
      },
    ],
    [
      'another client',
      (lease) => {
        lease.spec = foreignSpec();
      },
    ],
  ] as [string, (lease: any) => void][])(
    'is told of all again under %s, who does not say whom the record is for',
    async (_, change) => {
      const { cluster, clock, heard, waiting } = await passedOnTwice();
      cluster.write(change);
      await clock.advance(2_000);
      expect(heard[3]!.selections.at(-1)).toBeUndefined();
      const { told } = heard[3]!;
      cluster.write(({ metadata }) => {
        metadata.annotations = { ...metadata.annotations, by: 'a person' };
      });
      await settled();
      expect(heard[3]!.told).toBe(told + 1);
      expect(waiting[3]!.state).toBe('pending');
    },
  );
});

describe('R11 the grantee that alone is told', () => {
  it('loses the lock at once when the Lease is deleted', async () => {
    const { cluster, clock, waiting } = await passedOnTwice();
    const lock = waiting[1]!.value!;
    cluster.delete();
    await clock.advance(10);
    expect(lock.isHeld).toBe(false);
  });

  it('loses the lock at once when it is evicted, and all are told', async () => {
    const { cluster, clock, holder, waiting } = await passedOnTwice();
    const lock = waiting[1]!.value!;
    await holder.forceRelease();
    expect(wakesOf(cluster)).toBe('all');
    await clock.advance(10);
    expect(lock.isHeld).toBe(false);
    expect(waiting[2]!.state).toBe('resolved');
  });
});
