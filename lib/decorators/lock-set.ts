/** Acquires the locks of a call that has several in one global order, which prevents deadlocks. */
import type { LockClient, LockRequest } from '../lock.client.js';
import { anyOf } from '../lock/abort-signals.js';
import { runUnderLock } from '../lock/hold/current-lock.js';
import {
  giveBack,
  JoinedLock,
  type LockHandle,
} from '../lock/hold/lock-handle.js';

/** The identity of a lock: two locks are the same if both fields are equal. */
type Place = Pick<LockHandle, 'namespace' | 'leaseName'>;

/**
 * Acquires the locks one after the other, by namespace and Lease name. If one can't be acquired, or an
 * acquired one is lost meanwhile, all are released.
 *
 * @returns the locks in the order of the requests, each once: of several requests for one lock, the last
 * counts. Undefined if any of them skips the call
 */
export async function acquireAll(
  client: LockClient,
  requests: readonly LockRequest[],
  signal: AbortSignal | undefined,
): Promise<readonly LockHandle[] | undefined> {
  const taken = new Map<LockRequest, LockHandle>();
  let isComplete = false;
  // Taken synchronously: the caller may end before all locks are acquired.
  const kept = client.lendEnclosingLocks();
  try {
    for (const request of await inOrder(client, requests, kept)) {
      const until = anyOf(
        signal,
        ...Array.from(taken.values(), (lock) => lock.signal),
      );
      // oxlint-disable-next-line no-await-in-loop -- in the global order
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

/** Releases the locks in reverse order. */
export async function releaseAll(locks: readonly LockHandle[]): Promise<void> {
  await Promise.all(
    locks
      .toSorted(comparePlaces)
      .toReversed()
      .map((lock) => lock.release()),
  );
}

/** Runs `work` under all locks, with a joined handle as its `currentLock()`. */
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

/** Releases those of `kept` that are not among the locks. */
async function inOrder(
  client: LockClient,
  requests: readonly LockRequest[],
  kept: readonly LockHandle[],
): Promise<readonly LockRequest[]> {
  const places = new Map<LockRequest, Place>();
  for (const request of requests) {
    // oxlint-disable-next-line no-await-in-loop -- only the first one waits
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

/** Compares by code units, not by locale: every process must get the same order. */
function comparePlaces(one: Place, other: Place): number {
  return (
    compareText(one.namespace, other.namespace) ||
    compareText(one.leaseName, other.leaseName)
  );
}

function compareText(one: string, other: string): number {
  return one < other ? -1 : Number(one > other);
}
