/** A rolling deployment changes the permits of a semaphore: no more than the greater number hold it, and both sides are told. */
import { afterEach, expect, it } from 'vitest';
import { describeOnServer } from '../../test/api-servers.js';
import { buildFolder } from '../../test/support/build-folder.js';
import {
  findOverlaps,
  findStaleTokens,
  mostAtOnce,
} from '../beliefs/overlaps.js';
import { Contender } from '../interop/contender.js';
import { monotonic } from './programs/calls.js';

const PODS = 3;
const BEFORE = 3;
/** How often each pod enters beside those of the other kind, and after them. */
const TURNS = 10;

describeOnServer('a semaphore whose permits change', (server) => {
  const pods: Contender[] = [];
  afterEach(() =>
    Promise.all(pods.splice(0).map((pod) => pod[Symbol.asyncDispose]())),
  );

  /** Two calls of it wait all the time. */
  function startPod(lock: string, permits: number): Contender {
    const { kubeConfigYaml, namespace } = server;
    const part = {
      lock,
      hold: [50, 100],
      rest: [0, 5],
      options: { permits, leaseDuration: 3_000 },
    } as const;
    const pod = Contender.ours(buildFolder(), {
      name: `pod-${pods.length}-of-${permits}`,
      kubeConfigYaml,
      namespace,
      locks: [part, part],
    });
    pods.push(pod);
    return pod;
  }

  it.each([5, 2])(
    `from ${BEFORE} to %s is never exceeded beyond the greater number`,
    async (after) => {
      const lock = `to-${after}`;
      const old = Array.from({ length: PODS }, () => startPod(lock, BEFORE));
      await Promise.all(old.map((pod) => pod.acquired()));
      const told: string[] = [];
      const replacing: Contender[] = [];
      for (const leaving of old) {
        const coming = startPod(lock, after);
        replacing.push(coming);
        // oxlint-disable-next-line no-await-in-loop -- one pod after the other
        await coming.acquiredTimes(TURNS, lock);
        // oxlint-disable-next-line no-await-in-loop -- as above
        told.push(...(await leaving.finish()));
      }
      const since = monotonic();
      const turns = replacing.map((pod) => pod.beliefs().length + TURNS);
      await Promise.all(
        replacing.map((pod, index) => pod.acquiredTimes(turns[index]!, lock)),
      );
      told.push(
        ...(await Promise.all(replacing.map((pod) => pod.finish()))).flat(),
      );

      const beliefs = pods.flatMap((pod) => pod.beliefs());
      expect(findOverlaps(beliefs)).toEqual([]);
      expect(findStaleTokens(beliefs)).toEqual([]);
      expect(mostAtOnce(beliefs)).toBeLessThanOrEqual(Math.max(BEFORE, after));
      const later = beliefs.filter(({ from }) => from > since);
      expect(mostAtOnce(later)).toBeLessThanOrEqual(after);
      expect(mostAtOnce(later)).toBeGreaterThan(after === 5 ? BEFORE : 1);
      // Nothing else is said, and the pods of both kinds say it.
      const said = told.map((complaint) =>
        complaint.slice(complaint.indexOf(': ') + 2),
      );
      expect(new Set(said)).toEqual(
        new Set([
          `${after} permits here, ${BEFORE} elsewhere`,
          `${BEFORE} permits here, ${after} elsewhere`,
        ]),
      );
    },
  );
});
