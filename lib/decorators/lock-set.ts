/** Takes the locks of a call that has several, in an order that is the same in every process, so that no two calls wait for each other. */
import type { LockClient, LockRequest } from '../lock.client.js';
import { anyOf } from '../lock/abort-signals.js';
import { runUnderLock } from '../lock/hold/current-lock.js';
import {
  giveBack,
  JoinedLock,
  type LockHandle,
} from '../lock/hold/lock-handle.js';

/** Where a lock is: the same lock if both are the same. */
type Place = Pick<LockHandle, 'namespace' | 'leaseName'>;

/**
 * Acquires them one after the other, by namespace and Lease name. When one is not to be had, or one
 * that was taken is lost before the last is, all are given back.
 *
 * @returns the locks in the order of the requests, each once: of several requests for one, the last counts.
 * Undefined when the call is to be skipped, because of any of them
 */
export async function acquireAll(
  client: LockClient,
  requests: readonly LockRequest[],
  signal: AbortSignal | undefined,
): Promise<readonly LockHandle[] | undefined> {
  const taken = new Map<LockRequest, LockHandle>();
  let isComplete = false;
  // In the turn of the call: its caller may end before all of them are taken.
  const kept = client.lendEnclosingLocks();
  try {
    for (const request of await inOrder(client, requests, kept)) {
      const until = anyOf(
        signal,
        ...Array.from(taken.values(), (lock) => lock.signal),
      );
      // oxlint-disable-next-line no-await-in-loop -- in their order
      const lock = await client
        .acquireForMethod(
          request,
          until.signal,
          kept.filter(isInUse).map((each) => each.lend()),
        )
        .finally(until.end);
      if (lock === undefined) {
        return undefined;
      }
      taken.set(request, lock);
    }
    isComplete = true;
    return requests.flatMap((request) => taken.get(request) ?? []);
  } finally {
    kept.forEach((lock) => void lock.release());
    if (!isComplete) {
      await giveBack([...taken.values()]);
    }
  }
}

/** Releases them in the reverse of the order in which they were taken. */
export async function releaseAll(locks: readonly LockHandle[]): Promise<void> {
  await Promise.all(
    locks
      .toSorted(comparePlaces)
      .toReversed()
      .map((lock) => lock.release()),
  );
}

/** Runs `work` under all of them, with one that stands for all as its `currentLock()`. */
export function runUnderAll<T>(
  locks: readonly LockHandle[],
  work: (lock: LockHandle) => T,
): T {
  if (locks.length === 1) {
    return runUnderLock(locks[0]!, () => work(locks[0]!));
  }
  const joined = new JoinedLock(locks);
  return [...locks, joined].reduceRight<() => T>(
    (inner, lock) => () => runUnderLock(lock, inner),
    () => work(joined),
  )();
}

function isInUse(lock: LockHandle): boolean {
  return !lock.isReleased;
}

/** Releases those of `kept` that are none of the locks. */
async function inOrder(
  client: LockClient,
  requests: readonly LockRequest[],
  kept: readonly LockHandle[],
): Promise<readonly LockRequest[]> {
  const places = new Map<LockRequest, Place>();
  for (const request of requests) {
    // oxlint-disable-next-line no-await-in-loop -- none of them waits for anything but the first
    const { lock } = await client.resolve(request.name, request.options);
    places.set(request, lock);
  }
  for (const lock of kept) {
    if (![...places.values()].some((each) => comparePlaces(each, lock) === 0)) {
      void lock.release();
    }
  }
  const compare = (one: LockRequest, other: LockRequest): number =>
    comparePlaces(places.get(one)!, places.get(other)!);
  return requests
    .filter(
      (request, index) =>
        !requests
          .slice(index + 1)
          .some((later) => compare(request, later) === 0),
    )
    .toSorted(compare);
}

/** Code units, and no alphabet of a language: every process must come to the same order. */
function comparePlaces(one: Place, other: Place): number {
  return (
    compareText(one.namespace, other.namespace) ||
    compareText(one.leaseName, other.leaseName)
  );
}

function compareText(one: string, other: string): number {
  return one < other ? -1 : Number(one > other);
}
