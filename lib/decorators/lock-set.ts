/** Joins the locks of a call that has several: acquires them in one global order, and runs its work under all. */
import type { LockClient, LockRequest } from '../lock.client.js';
import { anyOf } from '../lock/abort-signals.js';
import { runUnderLock } from '../lock/hold/current-lock.js';
import {
  comparePlaces,
  giveBack,
  JoinedLock,
  type LockHandle,
  type Place,
} from '../lock/hold/lock-handle.js';

/**
 * Acquires the locks one after the other, by namespace and Lease name. If one can't be acquired, or an
 * acquired one is lost meanwhile, all are released.
 *
 * @returns the locks joined in the order of the requests, each once: of several requests for one lock, the
 * last counts. Undefined if any of them skips the call
 */
export async function acquireAll(
  client: LockClient,
  requests: readonly LockRequest[],
  signal: AbortSignal | undefined,
): Promise<JoinedLock | undefined> {
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
    return new JoinedLock(
      requests.flatMap((request) => taken.get(request) ?? []),
    );
  } finally {
    kept.forEach((lock) => void lock.release());
    if (!isComplete) {
      await Promise.all(Array.from(taken.values(), giveBack));
    }
  }
}

/** Runs `work` under all of the locks, with the joined one as its `currentLock()`. */
export function runUnderAll<T>(joined: LockHandle, work: () => T): T {
  return [...joined.parts, joined].reduceRight<() => T>(
    (inner, lock) => () => runUnderLock(lock, inner),
    work,
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
