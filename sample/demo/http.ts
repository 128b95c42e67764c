/** The demo of sample 02: many clients at once, and what a request is answered that finds its lock taken. */
import { fetchAnswer, send, type Answer, type Request } from './client.js';
import type { Demo, Findings, Running } from './demo.js';

interface Route {
  readonly method: string;
  readonly path: string;
  /** What a request does that finds the lock taken. */
  readonly policy: string;
  /** The statuses that it may answer: first that of a request whose work was done. */
  readonly statuses: readonly [done: number, ...others: number[]];
  /** The name of the lock, for an id in the path. */
  readonly lock: (id: string) => string;
}

const ofOrder = (id: string): string => `order-${id}`;

const ROUTES = {
  settle: {
    method: 'POST',
    path: '/orders/:id/settlement',
    policy: "'wait'",
    statuses: [201, 423, 503],
    lock: ofOrder,
  },
  cancel: {
    method: 'DELETE',
    path: '/orders/:id',
    policy: "'throw'",
    statuses: [200, 423, 503],
    lock: ofOrder,
  },
  remind: {
    method: 'POST',
    path: '/orders/reminders',
    policy: "'skip'",
    statuses: [201, 204, 503],
    lock: () => 'reminders',
  },
  reserve: {
    method: 'POST',
    path: '/stock/:id/reservations',
    policy: "'wait', by the interceptor",
    statuses: [201, 423, 503],
    lock: (id: string) => `stock-${id}`,
  },
} satisfies Record<string, Route>;

/** One request and its answer. */
interface Call extends Answer {
  readonly route: Route;
  readonly lock: string;
  /** The only status that is right; undefined = each of the route. */
  readonly expected: number | undefined;
}

type Wish = readonly [route: keyof typeof ROUTES, id: string];

/** What each of the many clients asks for, again and again. */
const WISHES: readonly Wish[] = [
  ['settle', 'a-1'],
  ['remind', ''],
  ['settle', 'a-2'],
  ['reserve', 'apples'],
  ['cancel', 'a-1'],
  ['settle', 'a-3'],
  ['reserve', 'pears'],
];

export const http: Demo = {
  about:
    'Each order has its own lock: a request that finds it taken waits, is refused, or has nothing to do.',
  seconds: 8,
  replicas: { 'replica-1': {}, 'replica-2': {}, 'replica-3': {} },
  run,
};

async function run(running: Running): Promise<Findings> {
  const { display, seconds, withoutLock } = running;
  const calls: Call[] = [];
  display.log('client', 'many', 'two clients at each replica');
  await sendMany(running, seconds, calls);
  display.log('client', 'many', `${calls.length} answers`);
  if (!withoutLock) {
    const caller = new Caller(running, calls);
    await findLockedOrder(running, caller);
    await findLockedReminders(running, caller);
    await loseLock(running, caller);
  }
  return () => judge(running, calls);
}

/** All clients ask for the same, each from another start. */
async function sendMany(
  { replicas, interrupt }: Running,
  seconds: number,
  calls: Call[],
): Promise<void> {
  const end = performance.now() + seconds * 1_000;
  const clients = [...replicas.all, ...replicas.all].map(
    async (replica, first) => {
      for (let n = 0; n < WISHES.length || performance.now() < end; n += 1) {
        const wish = WISHES[(first + n) % WISHES.length]!;
        // oxlint-disable-next-line no-await-in-loop -- a client sends one request at a time
        const answer = await fetchAnswer(replica, requestOf(wish), interrupt);
        calls.push(callOf(wish, answer));
      }
    },
  );
  await Promise.all(clients);
}

/** An order is being worked on. A request is refused, another order is settled, and one waits until its client goes away. */
async function findLockedOrder(
  { replicas, display }: Running,
  caller: Caller,
): Promise<void> {
  const lock = ofOrder('b-1');
  const hold = replicas.hold(lock);
  const first = caller.call(1, ['cancel', 'b-1'], 200);
  await hold.begun;
  await caller.call(2, ['cancel', 'b-1'], 423);
  await caller.call(2, ['settle', 'b-2'], 201);

  const isAbout = ({ subject }: { subject: string }): boolean =>
    subject === lock;
  const client = new AbortController();
  const waiting = replicas.next('waiting', isAbout);
  const cancelled = replicas.next('cancelled', isAbout);
  const gone = caller.callUntil(client.signal, 3, ['settle', 'b-1']);
  await waiting;
  display.log('client', 'gone', 'away, while its request waits');
  client.abort();
  display.log(await cancelled, 'stop', 'waiting: its client is gone');
  await gone;
  hold.letGo();
  await first;
}

/** Reminders are being sent: other requests have nothing to do. */
async function findLockedReminders(
  { replicas }: Running,
  caller: Caller,
): Promise<void> {
  const hold = replicas.hold('reminders');
  const first = caller.call(1, ['remind', ''], 201);
  await hold.begun;
  await caller.call(2, ['remind', ''], 204);
  await caller.call(3, ['remind', ''], 204);
  hold.letGo();
  await first;
}

/** The ledger hangs: after maxHold the lock is lost, its signal ends the work, and the order is free again. */
async function loseLock({ replicas }: Running, caller: Caller): Promise<void> {
  const hold = replicas.hold(ofOrder('c-1'));
  await caller.call(1, ['settle', 'c-1'], 503);
  hold.letGo();
  await caller.call(2, ['settle', 'c-1'], 201);
}

/** Sends single requests, and displays them. */
class Caller {
  constructor(
    private readonly running: Running,
    private readonly calls: Call[],
  ) {}

  /** @param number of the replica, from 1 */
  async call(number: number, wish: Wish, expected: number): Promise<void> {
    const { replicas, display, interrupt } = this.running;
    const replica = replicas.all[number - 1]!;
    const answer = await send(replica, requestOf(wish), display, interrupt);
    this.calls.push(callOf(wish, answer, expected));
  }

  /** Resolves when the client is gone. */
  async callUntil(
    gone: AbortSignal,
    number: number,
    wish: Wish,
  ): Promise<void> {
    const { replicas, display, interrupt } = this.running;
    const signal = AbortSignal.any([interrupt, gone]);
    try {
      await send(replicas.all[number - 1]!, requestOf(wish), display, signal);
    } catch {
      interrupt.throwIfAborted();
    }
  }
}

function requestOf([route, id]: Wish): Request {
  const { method, path } = ROUTES[route];
  return { method, path: path.replace(':id', id) };
}

function callOf([name, id]: Wish, answer: Answer, expected?: number): Call {
  const route: Route = ROUTES[name];
  return { ...answer, route, lock: route.lock(id), expected };
}

function judge({ log, display, withoutLock }: Running, calls: Call[]) {
  const sideBySide = log.countPairs(
    (one, other) =>
      one.subject.startsWith('order-') &&
      other.subject.startsWith('order-') &&
      one.subject !== other.subject,
  );
  display.table(
    Object.values<Route>(ROUTES).map((route) => ({
      name: `${route.method} ${route.path}`,
      numbers: [],
      note: `${route.policy.padEnd(26)}  ${countStatuses(
        calls.filter((call) => call.route === route),
      )}`,
    })),
  );
  display.print();
  display.table([
    {
      name: 'side by side',
      numbers: [String(sideBySide)],
      note: 'pairs of works on different orders that had a moment in common',
    },
  ]);
  return [
    ...(sideBySide === 0 ? ['no two orders were worked on side by side'] : []),
    ...(withoutLock ? [] : new Set(calls.flatMap(findFault))),
    ...findLostWork(calls, log.inOrder),
  ];
}

/** `201: 12, 423: 3` */
function countStatuses(calls: readonly Call[]): string {
  const statuses = calls.map(({ status }) => status);
  return [...new Set(statuses)]
    .toSorted((a, b) => a - b)
    .map((status) => {
      const count = statuses.filter((each) => each === status).length;
      return `${status}: ${count}`;
    })
    .join(', ');
}

/** What is wrong with an answer. */
function findFault(call: Call): string[] {
  const { route, lock, status, retryAfter, body, expected } = call;
  const answered = `${route.method} ${route.path} under ${lock} was answered ${status}`;
  const statuses = expected === undefined ? route.statuses : [expected];
  if (!statuses.includes(status)) {
    return [`${answered}, not ${statuses.join(' or ')}: ${body}`];
  }
  if (status === 423 && !/^[1-9]\d*$/.test(retryAfter ?? '')) {
    return [`${answered} with the Retry-After ${retryAfter}`];
  }
  if (status === 423 && JSON.parse(body).lock !== lock) {
    return [`${answered} with a body that does not name its lock`];
  }
  return [];
}

/** Each request that was served has done one work, and no other has. */
function findLostWork(
  calls: readonly Call[],
  works: readonly { subject: string; isDone?: boolean }[],
): string[] {
  const subjects = new Set(works.map(({ subject }) => subject));
  return [...subjects].flatMap((subject) => {
    const served = calls.filter(
      ({ lock, route, status }) =>
        lock === subject && status === route.statuses[0],
    ).length;
    const done = works.filter(
      (work) => work.subject === subject && work.isDone,
    ).length;
    return served === done
      ? []
      : [`${served} requests under ${subject} were served by ${done} works`];
  });
}
