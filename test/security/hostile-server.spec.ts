/** The whole client against a server that answers anything at all: it never takes a lock for its own that is not, and always comes to an end. */
import { setTimeout as sleep } from 'node:timers/promises';
import { clientOf } from '../../lib/lock.client.js';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  LockBackendError,
  LockNotAcquiredError,
  type LeaseLock,
  type LockService,
} from '../../lib/index.js';
import { TestService } from '../lock/lock-services.js';
import { HostileServer, scriptAbout, type Script } from './hostile-server.js';
import { member, statedBy } from './stated.js';
import { aborted } from '../support/aborted.js';

/** So many locks in each run, at the same time. */
const LOCKS = 32;
const RUNS = 12;
const CLIENT = 'pod';

/** Longer than any call may take, on a machine that is very busy. */
const HANG = 30_000;

const OPTIONS = {
  clientId: CLIENT,
  leaseDuration: 1_000,
  renewInterval: 30,
  retryInterval: 20,
  requestTimeout: 100,
  waitTimeout: 200,
  shutdownTimeout: 0,
};

const scripts: fc.Arbitrary<ReadonlyMap<string, Script>> = fc
  .tuple(...Array.from({ length: LOCKS }, (_, i) => scriptAbout(`lock-${i}`)))
  .map((each) => new Map(each.map((script, i) => [`lock-${i}`, script])));

/** What a call comes to; anything but a result or an error that it may have fails the test. */
async function settle<T>(
  what: string,
  call: Promise<T>,
): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} hangs`)), HANG);
  });
  try {
    return await Promise.race([call, hang]);
  } catch (error) {
    if (
      error instanceof LockNotAcquiredError ||
      error instanceof LockBackendError ||
      (error instanceof DOMException && error.name === 'TimeoutError')
    ) {
      return undefined;
    }
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Whoever holds a lock was told so: its write was answered with success, and with the record as it wrote it. */
function expectTold(server: HostileServer, lock: LeaseLock): void {
  const confirmed = server
    .said(lock.leaseName)
    .filter(
      ({ isWrite, stated, version, name }) =>
        isWrite &&
        name === lock.leaseName &&
        stated.state === 'held' &&
        stated.by === lock.holderIdentity &&
        version === String(lock.fencingToken),
    );
  expect(
    confirmed.length,
    'nobody said that it holds the lock',
  ).toBeGreaterThan(0);
}

/** No write is based on a record that somebody else holds, or that was never shown. */
function expectNothingOverwritten(server: HostileServer, name: string): void {
  for (const { record, at, saidBefore } of server.writes(name)) {
    const metadata = member(record, 'metadata');
    const version = member(metadata, 'resourceVersion');
    if (version === undefined) {
      continue; // a creation
    }
    const bases = server
      .said(name)
      .slice(0, saidBefore)
      .filter(
        (said) =>
          said.version === version && said.uid === member(metadata, 'uid'),
      );
    const mayBeWritten = bases.some(
      ({ stated, at: seen }) =>
        stated.state === 'free' ||
        (stated.state === 'held' &&
          (stated.by.startsWith(`${CLIENT}_`) ||
            at - seen >= stated.seconds * 1_000)),
    );
    expect(
      mayBeWritten,
      `${JSON.stringify(record)} over ${JSON.stringify(bases)}`,
    ).toBe(true);
    expect(statedBy(record).state, 'a record that is none').not.toBe('unclear');
  }
}

const soon = () => ({ signal: AbortSignal.timeout(OPTIONS.waitTimeout) });

async function useLock(
  locks: LockService,
  server: HostileServer,
  name: string,
): Promise<number> {
  let acquired = 0;
  for (const [what, insist] of [
    ['acquire', () => locks.acquire(name)],
    [
      'skip',
      () =>
        clientOf(locks)!.acquireForMethod(
          { name, onLocked: 'skip', options: {} },
          soon().signal,
        ),
    ],
    ['tryAcquire', () => locks.tryAcquire(name, soon())],
  ] as const) {
    // oxlint-disable-next-line no-await-in-loop -- one call after the other
    const lock = await settle<LeaseLock | undefined>(what, insist());
    if (lock) {
      acquired += 1;
      expectTold(server, lock);
      // oxlint-disable-next-line no-await-in-loop
      await Promise.race([
        aborted(lock.signal),
        sleep(2 * OPTIONS.renewInterval),
      ]);
      // oxlint-disable-next-line no-await-in-loop
      await settle('release', lock.release());
    }
    // oxlint-disable-next-line no-await-in-loop
    const state = await settle('inspect', locks.inspect(name));
    expect(['held', 'free', undefined]).toContain(state?.state);
  }
  return acquired;
}

describe('against a server that answers anything', () => {
  it('a lock is held only after an answer that says so, no other holder is overwritten, and every call ends', async () => {
    let acquired = 0;
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    await fc.assert(
      fc.asyncProperty(scripts, async (script) => {
        await using server = await HostileServer.start(script);
        const locks = new TestService({
          ...OPTIONS,
          kubeConfig: server.api.kubeConfig(),
        });
        const counts = await Promise.all(
          Array.from(script.keys(), (name) => useLock(locks, server, name)),
        );
        acquired += counts.reduce((sum, count) => sum + count, 0);
        await settle('shutdown', clientOf(locks)!.shutdown());
        for (const name of script.keys()) {
          expectNothingOverwritten(server, name);
        }
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
    // Not because no lock was ever held.
    expect(acquired).toBeGreaterThan(0);
  }, 120_000);
});
