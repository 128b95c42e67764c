/** Shows on each API server that a semaphore lets as many through as it has permits, and each pod in its turn. */
import { afterEach, expect, it } from 'vitest';
import { describeOnServer } from '../../test/api-servers.js';
import { LockService, type LockEvent } from '../../lib/index.js';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { clientOf } from '../../lib/lock.client.js';

const PODS = 16;
const PERMITS = 4;
/** How often each pod enters. */
const TIMES = 10;

describeOnServer('a semaphore', (server) => {
  const pods: LockService[] = [];
  afterEach(async () => {
    await Promise.all(
      pods.splice(0).map((locks) => clientOf(locks)!.shutdown()),
    );
  });

  it('is held by no more than its permits, in turns', async () => {
    const events: LockEvent[] = [];
    const tokens = new Map<number, bigint>();
    const order: number[] = [];
    let inside = 0;
    let most = 0;
    const begin = performance.now();

    const workOf = async (pod: number): Promise<void> => {
      const locks = new LockService(
        resolveModuleOptions({
          kubeConfig: server.kubeConfig,
          shutdownTimeout: 0,
        }),
      );
      pods.push(locks);
      locks.events$.subscribe((event) => events.push(event));
      const semaphore = locks.semaphore('pool', { permits: PERMITS });
      for (let i = 0; i < TIMES; i += 1) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await semaphore.withLock(async ({ slot, fencingToken }) => {
          order.push(pod);
          inside += 1;
          most = Math.max(most, inside);
          expect(fencingToken).toBeGreaterThan(tokens.get(slot!) ?? 0n);
          tokens.set(slot!, fencingToken);
          await new Promise((resolve) => setTimeout(resolve, 20));
          inside -= 1;
        });
      }
    };
    await Promise.all(Array.from({ length: PODS }, (_, pod) => workOf(pod)));

    const seconds = (performance.now() - begin) / 1_000;
    process.stdout.write(
      `${server.kind}: ${PODS} pods entered a semaphore of ${PERMITS} ${PODS * TIMES} times in ${seconds.toFixed(1)} s\n`,
    );
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(PERMITS);
    expect([...tokens.keys()].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3]);
    // Nobody is through before all have entered half as often.
    const firstEnd = order.findIndex(
      (pod, index) =>
        order.slice(0, index + 1).filter((other) => other === pod).length ===
        TIMES,
    );
    for (let pod = 0; pod < PODS; pod += 1) {
      const before = order.slice(0, firstEnd).filter((other) => other === pod);
      expect(before.length).toBeGreaterThanOrEqual(TIMES / 2);
    }
    // A write may be overtaken more than once while so many enrol.
    const failures = events.filter(
      (event) =>
        event.type === 'lost' ||
        (event.type === 'backend-error' && event.error.reason !== 'conflict'),
    );
    expect(failures).toEqual([]);
    expect(events.filter(({ type }) => type === 'acquired')).toHaveLength(
      PODS * TIMES,
    );

    const [pool, other] = pods.map((locks) =>
      locks.semaphore('pool', { permits: PERMITS }),
    );
    expect(await pool!.inspect()).toMatchObject({ held: 0 });
    await Promise.all(Array.from({ length: PERMITS }, () => pool!.acquire()));
    expect(await other!.inspect()).toMatchObject({ held: PERMITS });
    expect(await other!.tryAcquire()).toBeUndefined();
  });
});
