/** Joins the locks of a call that has several: acquires them in one global order, and runs its work under all. */
import type { OwnLockOptions } from './k8s-lock.options.js';
import type { LockClient, RequestedLock, ResolvedLock } from './lock.client.js';
import { LockNotAcquiredError } from './lock.errors.js';
import { anyOf } from './lock/abort-signals.js';
import { runUnderLock } from './lock/hold/current-lock.js';
import { LeaseLocks, type LeaseLock } from './lock/hold/lease-lock.js';
import {
  comparePlaces,
  giveBack,
  isOf,
  JoinedLock,
  type LockHandle,
  type Place,
} from './lock/hold/lock-handle.js';

/** Acquires one of the locks, or shares one of those that are lent. Undefined if it skips the call. */
type AcquireOne = (
  request: RequestedLock,
  signal: AbortSignal | undefined,
  lent: readonly LockHandle[],
) => Promise<LockHandle | undefined>;

/**
 * Acquires the locks one after the other, by namespace and Lease name. If one can't be acquired, or an
 * acquired one is lost meanwhile, all are released.
 *
 * @returns the locks joined in the order of the requests, each once: of several requests for one lock, the
 * last counts. Undefined if any of them skips the call
 */
export async function acquireAll(
  client: LockClient,
  requests: readonly RequestedLock[],
  signal: AbortSignal | undefined,
  acquire: AcquireOne = (...call) => client.acquireForMethod(...call),
): Promise<JoinedLock | undefined> {
  const taken = new Map<RequestedLock, LockHandle>();
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
      const lock = await acquire(
        request,
        until.signal,
        kept.filter(isInUse).map((each) => each.lend()),
      ).finally(until.end);
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
      await Promise.all([...taken.values()].toReversed().map(giveBack));
    }
  }
}

/**
 * Acquires the locks of a call of LockService in the same order. The call waits for all of them for
 * `waitTimeout` together.
 *
 * @returns the locks joined in the order of the names, each once: of several names of one Lease, the last counts
 */
export async function acquireForCaller(
  client: LockClient,
  names: readonly string[],
  options: OwnLockOptions,
  signal: AbortSignal | undefined,
): Promise<JoinedLock> {
  const requests = names.map((name): RequestedLock => ({
    name,
    onLocked: 'wait',
    options,
  }));
  const { clock } = client.engine;
  let startedAt: number | undefined;
  const waited = (): number => {
    startedAt ??= clock.now();
    return clock.now() - startedAt;
  };
  const locate = async (name: string): Promise<ResolvedLock> => {
    const { lock, options: own } = await client.resolve(name, options);
    const { waitTimeout } = own;
    return waitTimeout === undefined
      ? { lock, options: own }
      : {
          lock,
          options: {
            ...own,
            waitTimeout: Math.max(0, waitTimeout - waited()),
          },
        };
  };
  try {
    const joined = await acquireAll(
      client,
      requests,
      signal,
      ({ name }, until, lent) =>
        client.acquireReentrant(locate(name), until, lent),
    );
    return joined!;
  } catch (error) {
    if (error instanceof LockNotAcquiredError && error.reason === 'timeout') {
      const { lock, reason, holder, since, isOwnProcess, retryAfter } = error;
      const { permits = 1 } = options;
      throw new LockNotAcquiredError(lock, reason, {
        holder,
        since,
        isOwnProcess,
        retryInterval: retryAfter! * 1_000,
        waited: waited(),
        ...(permits > 1 && { permits }),
      });
    }
    throw error;
  }
}

/** The handle of the locks of a call of LockService. */
export class HeldLocks extends LeaseLocks {
  readonly locks: readonly LeaseLock[];

  constructor(
    client: LockClient,
    names: readonly string[],
    private readonly joined: JoinedLock,
  ) {
    super();
    this.locks = names.map((name) => {
      const leaseName = client.leaseNameOf(name);
      return joined.parts.find(
        (lock) => client.leaseNameOf(lock.name) === leaseName,
      )!;
    });
  }

  get signal(): AbortSignal {
    return this.joined.signal;
  }

  get isHeld(): boolean {
    return this.joined.isHeld;
  }

  assertHeld(): void {
    this.joined.assertHeld();
  }

  release(): Promise<void> {
    return this.joined.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
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

/** Releases those of `kept` that no request shares. */
async function inOrder(
  client: LockClient,
  requests: readonly RequestedLock[],
  kept: readonly LockHandle[],
): Promise<readonly RequestedLock[]> {
  const places = new Map<RequestedLock, Place>();
  const shareable: ResolvedLock[] = [];
  for (const request of requests) {
    // oxlint-disable-next-line no-await-in-loop -- only the first one waits
    const resolved = await client.resolve(request.name, request.options);
    places.set(request, resolved.lock);
    if (resolved.options.reentrant) {
      shareable.push(resolved);
    }
  }
  for (const lock of kept) {
    if (
      !shareable.some((each) => isOf(lock, each.lock, each.options.permits))
    ) {
      void lock.release();
    }
  }
  const compare = (one: RequestedLock, other: RequestedLock): number =>
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
