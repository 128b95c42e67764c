/** A process whose callers contend for one lock without pause. */
import type { LockService } from 'nestjs-k8s-lock';
import { answer } from '../../verification/processes/programs/calls.js';
import { openLocks } from '../../verification/processes/programs/locks.js';
import { traffic } from '../../verification/processes/programs/wire.js';

export interface Crowd {
  /** Each is to the others what another pod is. */
  services: number;
  callersPerService: number;
}

let callers: LockService[] = [];

async function contend(
  locks: LockService,
  name: string,
  signal: AbortSignal,
): Promise<number> {
  let acquired = 0;
  while (!signal.aborted) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
    const lock = await locks.acquire(name, { signal }).catch(() => undefined);
    if (lock) {
      acquired += 1;
      // oxlint-disable-next-line no-await-in-loop -- as above
      await lock.release();
    }
  }
  return acquired;
}

const calls = {
  async open(kubeConfigYaml: string, crowd: Crowd): Promise<void> {
    const services = await Promise.all(
      Array.from({ length: crowd.services }, () =>
        openLocks({ kubeConfigYaml }),
      ),
    );
    callers = services.flatMap((service) =>
      Array.from({ length: crowd.callersPerService }, () => service),
    );
  },

  /**
   * @param crowd how many of the callers take part; all of them if it is not given
   * @returns how often each of them got the lock within the time, and how many requests that took
   */
  async contend(
    name: string,
    milliseconds: number,
    crowd = callers.length,
  ): Promise<{ acquired: number[]; requests: number }> {
    const before = traffic().requests;
    const signal = AbortSignal.timeout(milliseconds);
    const acquired = await Promise.all(
      callers.slice(0, crowd).map((locks) => contend(locks, name, signal)),
    );
    return { acquired, requests: traffic().requests - before };
  },
};

export type ContenderCalls = typeof calls;

answer(calls);
