/** `list`, `inspect`, `watch`, `history` and `release`: what the records tell, and taking a lock from its holder. */
import type { StoredLease } from '../kube/lease-store.js';
import { compareVersions } from '../kube/lease-watch.js';
import type { LockReference } from '../lock.errors.js';
import { quote } from '../printable.js';
import { describeLocks, describeSessions } from '../lock/lock-engine.js';
import { EVICTED } from '../lock/record/lease-record.js';
import {
  clientIdOf,
  describeLock,
  type LockState,
  type SessionState,
} from '../lock/record/lock-state.js';
import { LEASE_PREFIX, type CommandLine, type Flags } from './arguments.js';
import { connect, lockOf, parseSelector, type Cluster } from './cluster.js';
import {
  ageOf,
  clean,
  durationOf,
  print,
  say,
  table,
  toJson,
  toYaml,
  type Cell,
} from './output.js';

/** Milliseconds between two reads of `watch`, which finds new locks by them. */
const READ_INTERVAL = 2_000;
/** Milliseconds within which changes are drawn together. */
const DRAW_INTERVAL = 100;

export async function show(line: CommandLine): Promise<number> {
  const { command, flags, parameters } = line;
  const [name] = parameters;
  const select = parseSelector(flags.selector);
  await using cluster = await connect(flags);
  const lock = name === undefined ? undefined : lockOf(cluster, name, flags);
  if (command === 'watch' || flags.watch) {
    return await watch(cluster, lock, flags, select);
  }
  switch (command) {
    case 'list':
      return await list(cluster, flags, select);
    case 'history':
      return await history(cluster, lock!, flags);
    case 'release':
      return await takeByForce(cluster, lock!, flags);
    default:
      return await inspect(cluster, lock!, flags);
  }
}

async function list(
  cluster: Cluster,
  flags: Flags,
  select: (lease: StoredLease) => boolean,
): Promise<number> {
  const leases = (await cluster.store.list(cluster.namespace)).filter(select);
  const locks = describeLocks(leases, cluster.leaseNameOf);
  const sessions = describeSessions(leases);
  if (isForPrograms(flags)) {
    printFor(flags, { locks, sessions });
  } else if (flags.output === 'name') {
    print(
      [...locks, ...sessions]
        .map(({ leaseName }) => `${LEASE_PREFIX}${leaseName}\n`)
        .join(''),
    );
  } else {
    print(lockTable(locks, flags));
    if (sessions.length > 0) {
      print(`\n${sessionTable(sessions, flags)}`);
    }
    if (locks.length === 0 && sessions.length === 0) {
      say(
        `There is no lock in ${cluster.namespace === '' ? 'any namespace' : `namespace ${quote(cluster.namespace)}`}.`,
      );
    }
  }
  return 0;
}

function lockTable(locks: readonly LockState[], flags: Flags): string {
  const columns = columnsOf(flags);
  return table(
    columns.map(([head]) => head),
    locks.map((lock) => columns.map(([, cell]) => cell(lock))),
  );
}

type Column<T> = readonly [head: string, cell: (state: T) => Cell];

function columnsOf(flags: Flags): Column<LockState>[] {
  const wide = flags.output === 'wide';
  return [
    ...(flags['all-namespaces']
      ? [column<LockState>('NAMESPACE', ({ namespace }) => namespace)]
      : []),
    column('NAME', ({ name, slot }) =>
      slot === undefined ? name : `${name} #${slot}`,
    ),
    ['STATUS', statusOf],
    column('HOLDER', (lock) =>
      lock.state === 'free' ? '' : wide ? lock.holder : clientIdOf(lock.holder),
    ),
    column('HELD', (lock) => (lock.state === 'held' ? ageOf(lock.since) : '')),
    column('RENEWED', (lock) =>
      lock.state === 'held' ? ageOf(lock.renewedAt) : '',
    ),
    column('WAITING', ({ waiting }) => String(waiting.length)),
    column('LAST FIRE', ({ fire }) =>
      fire ? `${ageOf(fire.at)} ago, ${fire.state}` : '',
    ),
    ...(wide
      ? [
          column<LockState>('LEASE', ({ leaseName }) => leaseName),
          column<LockState>('DURATION', (lock) =>
            lock.state === 'free'
              ? ''
              : lock.leaseDuration === undefined
                ? 'until released'
                : durationOf(lock.leaseDuration),
          ),
          column<LockState>('SESSION', (lock) =>
            lock.state === 'held' ? (lock.session ?? '') : '',
          ),
          column<LockState>('TRANSITIONS', ({ transitions }) =>
            String(transitions),
          ),
          column<LockState>('VERSION', ({ version = '' }) => version),
        ]
      : []),
  ];
}

function column<T>(head: string, text: (state: T) => string): Column<T> {
  return [head, (state) => ({ text: text(state) })];
}

/** A record whose holder has not renewed it in time, as far as the clocks agree. */
export function isOverdue({ until }: { until?: Date }): boolean {
  return until !== undefined && until.getTime() < Date.now();
}

function statusOf(lock: LockState): Cell {
  if (lock.state === 'free') {
    return { text: lock.exists ? 'free' : 'no Lease', colour: 'dim' };
  }
  if (isOverdue(lock)) {
    return { text: 'expired', colour: 'red' };
  }
  return lock.foreign
    ? { text: 'foreign', colour: 'yellow' }
    : { text: lock.granted ? 'granted' : 'held', colour: 'green' };
}

function sessionTable(sessions: readonly SessionState[], flags: Flags): string {
  const columns: Column<SessionState>[] = [
    ...(flags['all-namespaces']
      ? [column<SessionState>('NAMESPACE', ({ namespace }) => namespace)]
      : []),
    column('SESSION', ({ leaseName }) => leaseName),
    [
      'STATUS',
      (session) =>
        isOverdue(session)
          ? { text: 'expired', colour: 'red' }
          : { text: session.state },
    ],
    column('HOLDER', ({ holder = '' }) => clientIdOf(holder)),
    column('OPEN', ({ since }) => ageOf(since)),
    column('RENEWED', ({ renewedAt }) => ageOf(renewedAt)),
  ];
  return table(
    columns.map(([head]) => head),
    sessions.map((session) => columns.map(([, cell]) => cell(session))),
  );
}

async function inspect(
  cluster: Cluster,
  lock: LockReference,
  flags: Flags,
): Promise<number> {
  const state = await cluster.client.engine.inspect(lock);
  if (isForPrograms(flags)) {
    printFor(flags, state);
  } else if (flags.output === 'name') {
    print(`${LEASE_PREFIX}${state.leaseName}\n`);
  } else {
    print(lines(detailsOf(state)));
  }
  return exitCodeOf(state);
}

function exitCodeOf(state: LockState): number {
  if (state.state === 'free' && !state.exists) {
    say(
      `Lock ${quote(state.name)} has no Lease ${state.namespace}/${state.leaseName}: it was never held there. Check the name, --namespace and --prefix; list shows the locks that there are.`,
    );
    return 1;
  }
  return 0;
}

type Details = readonly (readonly [label: string, text: string])[];

function detailsOf(state: LockState): Details {
  return [
    ['Name', state.name],
    ['Lease', `${state.namespace}/${state.leaseName}`],
    ...(state.slot === undefined
      ? []
      : ([['Slot', String(state.slot)]] as const)),
    ...(state.permits === undefined
      ? []
      : ([['Permits', String(state.permits)]] as const)),
    ['Status', statusOf(state).text],
    ...(state.state === 'held' ? holderDetailsOf(state) : []),
    ['Transitions', String(state.transitions)],
    ['Version', state.version ?? ''],
    ...(state.fire ? ([['Last fire', describeFire(state.fire)]] as const) : []),
    ['Waiting', String(state.waiting.length)],
    ...state.waiting.map(
      ({ holder }, index) => [`  ${index + 1}.`, holder] as const,
    ),
  ];
}

function holderDetailsOf(
  state: Extract<LockState, { state: 'held' }>,
): Details {
  return [
    ['Holder', state.holder],
    ['Held since', dateOf(state.since)],
    ['Renewed', dateOf(state.renewedAt)],
    [
      'Expires',
      state.until === undefined
        ? state.session === undefined
          ? 'never: it is held until it is released'
          : `with session ${state.session}`
        : dateOf(state.until),
    ],
    ...(state.foreign
      ? ([['Foreign', 'the holder is another kind of client']] as const)
      : []),
  ];
}

function describeFire({ at, state, by }: NonNullable<LockState['fire']>) {
  return `${at.toISOString()} ${state}${by === undefined ? '' : ` by ${by}`}`;
}

function dateOf(date: Date | undefined): string {
  return date === undefined
    ? 'unknown'
    : `${date.toISOString()} (${durationOf(Date.now() - date.getTime())} ago)`;
}

function lines(details: Details): string {
  return details
    .map(([label, text]) => `${`${label}:`.padEnd(14)}${clean(text)}\n`)
    .join('');
}

/** What a record tells of the past: of each kind of event the last. */
async function history(
  cluster: Cluster,
  lock: LockReference,
  flags: Flags,
): Promise<number> {
  const lease = await cluster.client.engine.read(lock);
  const state = describeLock(lock, lease);
  const entries = entriesOf(state, lease?.metadata.annotations?.[EVICTED]);
  if (isForPrograms(flags)) {
    printFor(flags, { ...lock, transitions: state.transitions, entries });
  } else {
    print(
      table(
        ['TIME', 'EVENT', 'WHO'],
        entries.map(({ time = 'unknown', event, who = '' }) =>
          [time, event, who].map((text) => ({ text })),
        ),
      ),
    );
    if (state.version !== undefined) {
      say(
        `The lock has changed hands ${state.transitions} times. Its record keeps the last event of each kind; the log and the telemetry of the application have them all.`,
      );
    }
  }
  return exitCodeOf(state);
}

interface Entry {
  readonly time?: string;
  readonly event: string;
  readonly who?: string;
}

function entriesOf(state: LockState, evicted: string | undefined): Entry[] {
  const entries: Entry[] = [];
  if (state.fire) {
    const { at, state: end, by } = state.fire;
    entries.push({
      time: at.toISOString(),
      event: `fire planned for then: ${end}`,
      who: by,
    });
  }
  if (state.state === 'free' && evicted) {
    entries.push({ event: 'released by force', who: evicted });
  }
  if (state.state === 'held') {
    entries.push(
      {
        time: state.since?.toISOString(),
        event: 'acquired',
        who: state.holder,
      },
      {
        time: state.renewedAt?.toISOString(),
        event: 'renewed',
        who: state.holder,
      },
    );
  }
  return entries.toSorted((one, other) =>
    (one.time ?? '').localeCompare(other.time ?? ''),
  );
}

async function takeByForce(
  cluster: Cluster,
  lock: LockReference,
  flags: Flags,
): Promise<number> {
  const { engine } = cluster.client;
  if (!flags.force) {
    const state = await engine.inspect(lock);
    say(
      state.state === 'free'
        ? `Lock ${quote(lock.name)} is free.`
        : `Lock ${quote(lock.name)} is held by ${clean(state.holder)} since ${dateOf(state.since)}, and was renewed ${dateOf(state.renewedAt)}. A live holder learns of a forced release only at its next renewal: until then two processes may work. If you want that, add --force.`,
    );
    return state.state === 'free' ? 0 : 1;
  }
  const evicted = await engine.forceRelease(lock);
  if (isForPrograms(flags)) {
    printFor(flags, evicted ?? null);
  } else if (evicted?.state === 'held') {
    print(
      `Lock ${quote(lock.name)} was taken from ${clean(evicted.holder)}, which held it since ${dateOf(evicted.since)}.${evicted.waiting.length > 0 ? ` ${evicted.waiting.length} wait for it.` : ''}\n`,
    );
  } else {
    print(
      `Lock ${quote(lock.name)} was free, or changed hands meanwhile: nothing was released.\n`,
    );
  }
  return 0;
}

/** Shows each change until the process is ended. Beneath the watch, which is only a hint, the records are read now and then. */
async function watch(
  cluster: Cluster,
  only: LockReference | undefined,
  flags: Flags,
  select: (lease: StoredLease) => boolean,
): Promise<never> {
  const view = new View(flags);
  const watched = new Set<string>();
  const faults = new Set<string>();
  const failed = ({ message }: Error): void => {
    if (!faults.has(message)) {
      faults.add(message);
      say(message);
    }
  };
  const read = async (): Promise<LockState[]> =>
    only
      ? [await cluster.client.engine.inspect(only)]
      : describeLocks(
          (await cluster.store.list(cluster.namespace)).filter(select),
          cluster.leaseNameOf,
        );
  let locks = await read();
  for (;;) {
    for (const state of locks) {
      const { namespace, leaseName: name } = state;
      const lock = referenceOf(state);
      view.show(state);
      if (!watched.has(`${namespace}/${name}`)) {
        watched.add(`${namespace}/${name}`);
        cluster.store.watch(
          { namespace, name },
          {
            changed: (lease) => view.show(describeLock(lock, lease)),
            deleted: () => view.show(describeLock(lock, null)),
            failed,
          },
        );
      }
    }
    // oxlint-disable-next-line no-await-in-loop -- the pause between two
    await new Promise((resolve) => {
      setTimeout(resolve, READ_INTERVAL);
    });
    try {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      locks = await read();
    } catch (error) {
      failed(error instanceof Error ? error : new Error(String(error)));
    }
  }
}

function referenceOf({
  name,
  namespace,
  leaseName,
  slot,
}: LockState): LockReference {
  return { name, namespace, leaseName, ...(slot !== undefined && { slot }) };
}

/** What `watch` shows: on a terminal one table that is drawn anew, else a line for each change. */
class View {
  private readonly states = new Map<string, LockState>();
  private timer: NodeJS.Timeout | undefined;
  private hasHead = false;
  private readonly isTerminal: boolean;

  constructor(private readonly flags: Flags) {
    this.isTerminal = process.stdout.isTTY && !isForPrograms(flags);
    if (this.isTerminal) {
      setInterval(() => this.drawSoon(), 1_000); // ages
    }
  }

  show(state: LockState): void {
    const id = `${state.namespace}/${state.leaseName}`;
    const before = this.states.get(id);
    if (before?.version === state.version && before !== undefined) {
      return;
    }
    const { version } = state;
    if (
      version !== undefined &&
      compareVersions(version, before?.version) < 0
    ) {
      return; // an answer may be older than the last event
    }
    this.states.set(id, state);
    if (this.isTerminal) {
      this.drawSoon();
    } else if (isForPrograms(this.flags)) {
      print(
        this.flags.output === 'yaml'
          ? `---\n${toYaml(state)}`
          : `${toJson(state)}\n`,
      );
    } else {
      const [head = '', ...rows] = lockTable([state], this.flags).split('\n');
      print(this.hasHead ? rows.join('\n') : [head, ...rows].join('\n'));
      this.hasHead = true;
    }
  }

  private drawSoon(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      const rows = lockTable([...this.states.values()], this.flags);
      const fitting = rows
        .split('\n')
        .slice(0, (process.stdout.rows ?? 25) - 1);
      print(`\u001B[H\u001B[J${fitting.join('\n')}\n`);
    }, DRAW_INTERVAL);
  }
}

function isForPrograms({ output }: Flags): boolean {
  return output === 'json' || output === 'yaml';
}

function printFor({ output }: Flags, value: unknown): void {
  print(output === 'yaml' ? toYaml(value) : `${toJson(value, 2)}\n`);
}
