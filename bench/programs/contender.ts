/** A process with pods whose callers contend for one lock without pause. */
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalLease } from '../../lib/lock/lease/local-lease.js';
import type { Belief } from '../../verification/beliefs/belief-log.js';
import {
  answer,
  monotonic,
  report,
} from '../../verification/processes/programs/calls.js';
import { openLocks } from '../../verification/processes/programs/locks.js';
import { traffic } from '../../verification/processes/programs/wire.js';
import { NaiveLocks, type NaiveLock } from './naive-lock.js';
import { holderOfThePackage } from './of-the-package.js';
import { RawLease } from './raw-leases.js';

/** What is needed of a lock service, ours or another. */
interface Locks {
  acquire(
    name: string,
    options: { signal: AbortSignal; permits?: number },
  ): Promise<
    NaiveLock & { readonly signal?: AbortSignal; readonly leaseName?: string }
  >;
}

/** What each caller does. */
export interface Turn {
  /** How long it keeps the lock, in milliseconds. */
  readonly section: number;
  /** How many may hold it at once. */
  readonly permits?: number;
}

/** What the pods of one process have done. */
export interface Part {
  readonly beliefs: Belief[];
  /** Requests in the window. */
  readonly requests: number;
  /** What failed, except for waits that the end of the window ended. */
  readonly errors: string[];
}

/** From and to, on the clock of {@link monotonic}. */
export type Window = readonly [from: number, to: number];

let pods: Locks[] = [];
let raw: RawLease;

/** Replaces the bound of the package by another, to show what it is good for. */
function boundHandovers(most: number): void {
  Object.defineProperty(holderOfThePackage().prototype, 'mayHandOver', {
    get(this: { local: LocalLease }) {
      const { queue, isCourtesyDue, handovers, hasOthersInLine } = this.local;
      const isLast = handovers >= most && hasOthersInLine;
      return queue.hasWaiters && !isCourtesyDue && !isLast;
    },
  });
}

const until = (at: number): Promise<void> =>
  sleep(Math.max(0, at - monotonic()));

async function takeTurn(
  locks: Locks,
  lock: string,
  { section, permits }: Turn,
  signal: AbortSignal,
): Promise<Omit<Belief, 'process'>> {
  const asked = monotonic();
  const held = await locks.acquire(lock, { signal, permits });
  const from = monotonic();
  let lostAt: number | undefined;
  held.signal?.addEventListener('abort', () => (lostAt = monotonic()));
  if (section > 0) {
    await sleep(section);
  }
  const belief = {
    lock: held.leaseName ?? lock, // of a semaphore, the slot
    holding: held.holderIdentity,
    token: held.fencingToken,
    asked,
    from,
    to: lostAt ?? monotonic(),
    how: lostAt === undefined ? 'released' : 'lost',
  } as const;
  await held.release();
  return belief;
}

async function countRequests([from, to]: Window): Promise<number> {
  await until(from);
  const before = traffic().requests;
  await until(to);
  return traffic().requests - before;
}

const calls = {
  async open(
    kubeConfigYaml: string,
    kind: 'ours' | 'naive',
    count: number,
    mostHandovers?: number,
  ): Promise<void> {
    if (mostHandovers !== undefined) {
      boundHandovers(mostHandovers);
    }
    pods = await Promise.all(
      Array.from({ length: count }, async (): Promise<Locks> =>
        kind === 'ours'
          ? openLocks({ kubeConfigYaml })
          : new NaiveLocks(kubeConfigYaml),
      ),
    );
    raw = await RawLease.open(kubeConfigYaml, 'raw');
  },

  /** All callers take the lock again and again, from now to the end of the window. */
  async contend(
    lock: string,
    window: Window,
    turn: Turn & { readonly callersPerPod: number },
  ): Promise<Part> {
    const counted = countRequests(window);
    const signal = AbortSignal.timeout(Math.round(window[1] - monotonic()));
    setMaxListeners(0, signal);
    const beliefs: Belief[] = [];
    const errors: string[] = [];
    const contend = async (locks: Locks, name: string): Promise<void> => {
      while (!signal.aborted) {
        try {
          // oxlint-disable-next-line no-await-in-loop -- one turn after the other
          const belief = await takeTurn(locks, lock, turn, signal);
          beliefs.push({ process: name, ...belief });
        } catch (error) {
          if (!signal.aborted) {
            errors.push(String(error));
          }
        }
      }
    };
    await Promise.all(
      pods.flatMap((locks, pod) =>
        Array.from({ length: turn.callersPerPod }, (_, caller) =>
          contend(locks, `${process.pid}-${pod}-${caller}`),
        ),
      ),
    );
    return { beliefs, requests: await counted, errors };
  },

  createRaw: () => raw.create(),

  /** @returns when it began */
  async putRaw(): Promise<number> {
    const startedAt = monotonic();
    await raw.put();
    return startedAt;
  },

  /** Reports `raw-event` for each event of the raw Lease. */
  watchRaw: () => raw.watch(() => report('raw-event')),
};

export type ContenderCalls = typeof calls;

answer(calls);
