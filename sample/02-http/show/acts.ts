/** What is played: a crowd that wants everything at once, and then, one by one, what becomes of a request that finds its lock taken. */
import { once, type EventEmitter } from 'node:events';
import type { Display } from '../../stage/display.js';
import type { ReplicaProcess } from '../../stage/replica-process.js';
import {
  lockOf,
  pathOf,
  type Answer,
  type Clients,
  type Wish,
} from './client.js';
import type { Ledger } from './ledger.js';
import type { Report } from './report.js';
import { ROUTES } from './routes.js';

/** Milliseconds after which what does not happen is taken for a promise that was broken. */
const PATIENCE = 10_000;

/** Something that was promised did not happen; the message is about what. */
export class BrokenPromise extends Error {}

type ReplicaNumber = 1 | 2 | 3;

export interface Stage {
  readonly replicas: readonly ReplicaProcess<Report>[];
  /** Emits what happens to a lock: `order-7 waiting`, `cancelled`, and `begun` when the work under it begins. */
  readonly news: EventEmitter;
  readonly ledger: Ledger;
  readonly clients: Clients;
  readonly display: Display;
  readonly signal: AbortSignal;
}

/** What each client of the crowd asks for, again and again. */
const WISHES: readonly Wish[] = [
  { route: 'settle', id: 'a-1' },
  { route: 'remind', id: '' },
  { route: 'settle', id: 'a-2' },
  { route: 'reserve', id: 'apples' },
  { route: 'cancel', id: 'a-1' },
  { route: 'settle', id: 'a-3' },
  { route: 'reserve', id: 'pears' },
];

/** All replicas at once: each client has all of the wishes, in turn, and the next one has them a step ahead. */
export async function playCrowd(
  { replicas, clients, signal }: Stage,
  seconds: number,
): Promise<void> {
  const end = performance.now() + seconds * 1_000;
  const served = [...replicas, ...replicas];
  const crowd = served.map(async (replica, first) => {
    for (let n = 0; n < WISHES.length || performance.now() < end; n += 1) {
      const wish = WISHES[(first + n) % WISHES.length]!;
      // oxlint-disable-next-line no-await-in-loop -- a client has one wish at a time
      await clients.call(replica, wish, signal);
    }
  });
  await Promise.all(crowd);
}

/** An order is being settled. Another request does not wait for it, and one waits until its client goes away. */
export async function playOrder(stage: Stage): Promise<void> {
  const settle: Wish = { route: 'settle', id: 'b-1' };
  await whileAtWork(stage, settle, async () => {
    await call(stage, 2, { ...settle, route: 'cancel', expected: 423 });
    await callAndGoAway(stage, 3, settle);
  });
}

/** Reminders are being sent: others have nothing to do. */
export async function playReminders(stage: Stage): Promise<void> {
  const remind: Wish = { route: 'remind', id: '' };
  await whileAtWork(stage, remind, async () => {
    await call(stage, 2, { ...remind, expected: 204 });
    await call(stage, 3, { ...remind, expected: 204 });
  });
}

/** The ledger hangs: after maxHold the lock is lost, its signal ends the work, and the order is free again. */
export async function playHangingLedger(stage: Stage): Promise<void> {
  const settle: Wish = { route: 'settle', id: 'c-1' };
  const goOn = stage.ledger.hold(lockOf(settle));
  await call(stage, 1, { ...settle, expected: 503 });
  goOn();
  await call(stage, 2, { ...settle, expected: 201 });
}

/** Calls the first replica, and plays the rest while that is at work under its lock. */
async function whileAtWork(
  stage: Stage,
  wish: Wish,
  play: () => Promise<void>,
): Promise<void> {
  const lock = lockOf(wish);
  const goOn = stage.ledger.hold(lock);
  const begun = until(stage, lock, 'begun');
  await Promise.all([
    call(stage, 1, { ...wish, expected: 201 }),
    begun.then(play).finally(goOn),
  ]);
}

/** Calls a replica that has to wait for the lock, and goes away meanwhile. */
async function callAndGoAway(
  stage: Stage,
  number: ReplicaNumber,
  wish: Wish,
): Promise<void> {
  const { display, signal } = stage;
  const lock = lockOf(wish);
  const client = new AbortController();
  const goAway = async (): Promise<void> => {
    await until(stage, lock, 'waiting');
    const isOver = until(stage, lock, 'cancelled');
    client.abort();
    display.log('client', 'gone', 'away, while its request waits');
    await isOver;
    display.log(`replica-${number}`, 'stop', 'waiting: its client is gone');
  };
  const gone = AbortSignal.any([signal, client.signal]);
  await Promise.all([
    goAway(),
    call(stage, number, wish, gone).catch(() => signal.throwIfAborted()),
  ]);
}

/** Sends a request to a replica, by its number, and shows it and its answer. */
async function call(
  { replicas, clients, display, signal: interrupt }: Stage,
  number: ReplicaNumber,
  wish: Wish,
  signal = interrupt,
): Promise<Answer> {
  const replica = replicas[number - 1]!;
  const { method } = ROUTES[wish.route];
  const request = `${pathOf(wish)} to ${replica.name}`;
  display.log('client', method, request);
  const answer = await clients.call(replica, wish, signal);
  const { status, retryAfter, body } = answer;
  const isServed = status >= 200 && status < 300;
  display.log(
    'client',
    String(status),
    [
      request,
      ...(retryAfter === null ? [] : [`Retry-After: ${retryAfter}`]),
      ...(isServed ? [] : [body]),
    ].join('  '),
    { style: isServed ? 'green' : 'yellow' },
  );
  return answer;
}

/** To be called before it can happen. */
async function until(
  { news, signal }: Stage,
  lock: string,
  what: 'begun' | 'waiting' | 'cancelled',
): Promise<void> {
  const patience = AbortSignal.timeout(PATIENCE);
  try {
    await once(news, `${lock} ${what}`, {
      signal: AbortSignal.any([signal, patience]),
    });
  } catch (error) {
    throw patience.aborted
      ? new BrokenPromise(`nobody said "${lock} ${what}"`)
      : error;
  }
}
