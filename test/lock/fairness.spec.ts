/** Contention between processes: no process monopolises the lock, and none starves. */
import { describe, expect, it } from 'vitest';
import { Cluster, outcomeOf, type LockProcess } from './processes.js';

describe('a process that takes the lock again as soon as it has given it back', () => {
  it('yields to the processes for which it has waited before', async () => {
    const { cluster, pods } = contenders(2);
    const [first, second] = [pods[0]!, pods[1]!];
    const held = await atOnce(cluster, second.acquire());
    const waited = outcomeOf(first.acquire());
    await cluster.clock.advance(100);
    void held.release();
    await cluster.clock.advance(100);
    expect(waited.state).toBe('resolved');

    const other = outcomeOf(second.acquire());
    await cluster.clock.advance(100);
    const again = outcomeOf(
      waited.value!.release().then(() => first.acquire()),
    );
    await cluster.clock.advance(100);
    expect(other.state).toBe('resolved');
    expect(again.state).toBe('pending');
  });

  it('does not starve processes for which it has never waited', async () => {
    const { cluster, pods } = contenders(2);
    const [busy, other] = [pods[0]!, pods[1]!];
    countLocks(busy);
    await cluster.clock.advance(100);
    const waited = outcomeOf(other.acquire());
    await cluster.clock.advance(2_000);
    expect(waited.state).toBe('resolved');
  });

  it('loses little time without contenders, and sends no requests', async () => {
    const { cluster, pods } = contenders(1);
    const count = countLocks(pods[0]!);
    await cluster.clock.advance(11_000);
    expect(count()).toBeGreaterThan(1_200); // of 1,375, 8 ms each
    expect(pods[0]!.store.verbs()).toMatch(/^get create( update)+$/);
  });
});

describe('many processes that want the lock all the time', () => {
  it.for([3, 10])(
    'all get it equally often, when they learn of a release after %i ms',
    async (delay) => {
      const { cluster, pods } = contenders(12, delay);
      const counts = pods.map((pod) => countLocks(pod));
      await cluster.clock.advance(2_000);
      const before = counts.map((count) => count());
      await cluster.clock.advance(3_000);
      const locks = counts.map((count, i) => count() - before[i]!);
      expect(Math.min(...locks)).toBeGreaterThan(10);
      expect(Math.min(...locks) / Math.max(...locks)).toBeGreaterThan(0.9);
    },
  );

  it('have equal shares, however many callers each has, and so have the callers of one', async () => {
    const { cluster, pods } = contenders(3);
    const counts = [1, 1, 4].map((callers, i) =>
      Array.from({ length: callers }, () => countLocks(pods[i]!)),
    );
    await cluster.clock.advance(2_000);
    const locks = counts.map((each) => each.map((count) => count()));
    const [one, other, four] = locks.map((each) =>
      each.reduce((sum, count) => sum + count),
    );
    expect(one! / other!).toBeGreaterThan(0.9);
    expect(one! / other!).toBeLessThan(1.1);
    // Two handovers within the process follow on each grant.
    expect(four! / one!).toBeGreaterThan(2.5);
    expect(four! / one!).toBeLessThan(3.5);
    expect(Math.min(...locks[2]!) / Math.max(...locks[2]!)).toBeGreaterThan(
      0.9,
    );
  });
});

/** Processes on a network that takes some time. */
function contenders(number: number, watchDelay = 3) {
  const cluster = new Cluster();
  const dice = new Dice();
  cluster.clock.random = () => dice.roll();
  const pods = Array.from({ length: number }, (_, index) => {
    const pod = cluster.process(`pod-${index}`);
    pod.store.watchDelay = watchDelay;
    const onItsWay = { appliedAfter: 2, answeredAfter: 2 };
    pod.store.plan(onItsWay, ['get', 'create', 'update']);
    return pod;
  });
  return { cluster, pods };
}

async function atOnce<T>(cluster: Cluster, promise: Promise<T>): Promise<T> {
  const outcome = outcomeOf(promise);
  await cluster.clock.advance(100);
  expect(outcome.state).toBe('resolved');
  return outcome.value!;
}

/** Makes a process take and release the lock without end; returns how to ask how often it has had it. */
function countLocks(pod: LockProcess): () => number {
  let locks = 0;
  const goOn = async (): Promise<void> => {
    for (;;) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
      const lock = await pod.acquire();
      locks += 1;
      // oxlint-disable-next-line no-await-in-loop -- as above
      await lock.release();
    }
  };
  void goOn();
  return () => locks;
}

/** The same numbers in every run. */
class Dice {
  private state = 1;

  roll(): number {
    this.state = (this.state * 48_271) % 2_147_483_647;
    return this.state / 2_147_483_647;
  }
}
