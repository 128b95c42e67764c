/**
 * A program that contends for locks by this package, as the peers that are written in Go do by
 * theirs: its options are a line of JSON on stdin, what it believes goes to stdout, whatever is wrong
 * is on stderr, and it ends in order when its stdin ends.
 */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LeaseLock, LockLostError, LockService } from 'nestjs-k8s-lock';
import type { BeliefEvent } from '../../beliefs/belief-log.js';
import { monotonic } from '../../processes/programs/calls.js';
import { openLocks } from '../../processes/programs/locks.js';
import type { OurOptions, OurPart, Span } from './options.js';

const stop = new AbortController();

function draw([least, most]: Span): number {
  return least + Math.random() * (most - least);
}

/** Ends early when one of the signals aborts. */
async function pause(span: Span, ...signals: AbortSignal[]): Promise<void> {
  const signal = AbortSignal.any([stop.signal, ...signals]);
  await sleep(draw(span), undefined, { signal }).catch(() => undefined);
}

/** Writes at once: nothing is lost when the process is killed in the next moment. */
function say(event: BeliefEvent): void {
  console.log(JSON.stringify(event));
}

async function contend(locks: LockService, part: OurPart): Promise<void> {
  const { lock: name, hold, long = hold, rest, options } = part;
  for (let turn = 1; !stop.signal.aborted; turn += 1) {
    // oxlint-disable no-await-in-loop -- one turn after the other
    const asked = monotonic();
    const lock = await acquire(locks, name, options);
    if (lock === undefined) {
      return;
    }
    const { holderIdentity: holding, leaseName, fencingToken, signal } = lock;
    const token = String(fencingToken);
    say({
      event: 'acquired',
      // Of a semaphore: the slot.
      lock: leaseName,
      holding,
      token,
      asked,
      at: monotonic(),
    });
    signal.addEventListener('abort', () => {
      const { reason }: LockLostError = signal.reason;
      say({ event: 'ended', holding, how: 'lost', reason, at: monotonic() });
    });
    await pause(turn % 3 === 2 ? long : hold, signal);
    if (lock.isHeld) {
      say({ event: 'ended', holding, how: 'released', at: monotonic() });
    }
    await lock.release();
    await pause(rest);
    // oxlint-enable no-await-in-loop
  }
}

/** @returns undefined when it is time to end */
async function acquire(
  locks: LockService,
  name: string,
  options: OurPart['options'],
): Promise<LeaseLock | undefined> {
  try {
    return await locks.acquire(name, { ...options, signal: stop.signal });
  } catch (error) {
    if (stop.signal.aborted) {
      return undefined;
    }
    throw error;
  }
}

async function run(options: OurOptions): Promise<void> {
  const { name: clientId, locks: parts, ...module } = options;
  const locks = await openLocks({ clientId, ...module });
  locks.events$.subscribe((event) => {
    if (event.type === 'backend-error') {
      const { operation, name, error } = event;
      console.error(
        `${operation} of ${name} failed (${error.reason}): ${error.explanation}`,
      );
    } else if (event.type === 'permits-differ') {
      console.error(`${event.permits} permits here, ${event.others} elsewhere`);
    }
  });
  await Promise.all(parts.map((part) => contend(locks, part)));
  process.exit();
}

const input = createInterface({ input: process.stdin });
input.once('line', (line) => void run(JSON.parse(line)));
input.once('close', () => stop.abort());
