/** One process holds many locks, or waits for many, or takes them again and again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { HolderCalls } from '../programs/holder.js';
import type { Row, Target } from '../report.js';
import { renewalModes, type Bench, type Setting } from '../setting.js';
import type { TestProcess } from '../../verification/processes/test-process.js';

type Holder = TestProcess<HolderCalls>;

/** Milliseconds after which what is not taken counts as waiting. */
const TAKE_TIMEOUT = 120_000;

async function openHolder(setting: Setting, options = {}): Promise<Holder> {
  const holder = await setting.start<HolderCalls>('bench/programs/holder');
  const { kubeConfigYaml } = setting;
  await holder.call('open', { kubeConfigYaml, ...options });
  return holder;
}

export const held: Bench = {
  about:
    'A process takes many locks at once, and holds them for a while, in both modes of renewal.',

  async run(setting) {
    const { quick } = setting.options;
    const rows: Row[] = [];
    const targets: Target[] = [];
    for (const mode of await renewalModes(setting)) {
      for (const count of quick ? [10, 1_000] : [10, 100, 1_000, 10_000]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other: each has the machine for itself
        const row = await hold(setting, mode, count, quick ? 10_000 : 60_000);
        rows.push({ renewal: mode.renewal, locks: count, ...row });
        if (count === (quick ? 1_000 : 10_000)) {
          targets.push(...targetsOf(mode.renewal, count, row));
        }
      }
    }
    return {
      tables: [{ title: 'Many locks held by one process', rows }],
      targets,
      faults: [],
    };
  },
};

type HeldRow = Awaited<ReturnType<typeof hold>>;

async function hold(
  setting: Setting,
  { renewal, options }: { renewal: string; options: object },
  count: number,
  duration: number,
) {
  await using holder = await openHolder(setting, options);
  const empty = await holder.call('look');
  const prefix = `held-${renewal}-${count}`;
  const taken = await holder.call('take', prefix, count, TAKE_TIMEOUT);
  const before = await holder.call('look');
  await sleep(duration);
  const after = await holder.call('look');
  const requests = after.requests - before.requests;
  await holder.call('release');
  // Its Leases are known by now, as those of names that come again.
  const again = await holder.call('take', prefix, count, TAKE_TIMEOUT);
  const inFlight = after.mostInFlight;
  await holder.call('release');
  await using raw = await openHolder(setting);
  const puts = await raw.call('putRaw', count, inFlight);
  const each = (before.requests - empty.requests) / taken.held;
  return {
    taken: taken.held,
    lost: after.lost,
    'requests/s': (requests / (after.at - before.at)) * 1_000,
    'MB over an empty process': after.rss - empty.rss,
    'new names: taken/s': (taken.held / taken.milliseconds) * 1_000,
    'requests each': each,
    'known names: taken/s': (again.held / again.milliseconds) * 1_000,
    'raw PUTs/s': (count / puts) * 1_000,
    'in flight': inFlight,
  };
}

function targetsOf(renewal: string, count: number, row: HeldRow): Target[] {
  const what = `${count} locks, renewal '${renewal}'`;
  const raw = row['raw PUTs/s'];
  return [
    { what: `${what}: lost`, value: row.lost, most: 0 },
    ...(renewal === 'session'
      ? [
          { what: `${what}: requests/s`, value: row['requests/s'], most: 5 },
          {
            what: `${what}: MB over an empty process`,
            value: row['MB over an empty process'],
            most: 150,
          },
          {
            what: `${what}: locks of known names taken, of raw PUT throughput`,
            value: row['known names: taken/s'] / raw,
            least: 0.8,
          },
          {
            what: `${what}: requests to take new names, of raw PUT throughput`,
            value: (row['new names: taken/s'] * row['requests each']) / raw,
            least: 0.8,
          },
        ]
      : []),
  ];
}

const NAMES = 1_000;
/** A watch of each name, and each poll in each second, would be a thousand. */
const MOST_CONNECTIONS = 100;
const MOST_POLLS = 300;
/** What the heap grows by while nothing happens but renewals. */
const MOST_NEWS = 2;
/** Milliseconds from one look to the other. */
const WATCHED = 30_000;

export const names: Bench = {
  about: `A process waits for ${NAMES} locks of another.`,

  async run(setting) {
    const holder = await openHolder(setting);
    const waiter = await openHolder(setting);
    await holder.call('take', 'awaited', NAMES, TAKE_TIMEOUT);
    const empty = await waiter.call('look');
    const taken = waiter.call('take', 'awaited', NAMES, TAKE_TIMEOUT);
    await untilWaiting(waiter, NAMES);
    const before = await waiter.call('look');
    await sleep(setting.options.quick ? 10_000 : WATCHED);
    const after = await waiter.call('look');
    const { lost } = await holder.call('look');
    await holder.call('release');
    const releasedAt = performance.now();
    await taken;
    const row = {
      names: NAMES,
      connections: after.connections - empty.connections,
      'MB over an empty process': after.rss - empty.rss,
      'heap MB more while waiting': after.heap - before.heap,
      'requests/s while waiting':
        ((after.requests - before.requests) / (after.at - before.at)) * 1_000,
      'lost by the holder': lost,
      'all taken, ms after their release': performance.now() - releasedAt,
    };
    return {
      tables: [{ title: 'Many names waited for by one process', rows: [row] }],
      targets: [
        {
          what: `${NAMES} names waited for: connections`,
          value: row.connections,
          most: MOST_CONNECTIONS,
        },
        {
          what: `${NAMES} names waited for: requests/s`,
          value: row['requests/s while waiting'],
          most: MOST_POLLS,
        },
        {
          what: `${NAMES} names waited for: heap MB more while waiting`,
          value: row['heap MB more while waiting'],
          most: MOST_NEWS,
        },
      ],
      faults: [],
    };
  },
};

async function untilWaiting(holder: Holder, count: number): Promise<void> {
  while ((await holder.call('look')).waiting < count) {
    // oxlint-disable-next-line no-await-in-loop -- one look after the other
    await sleep(100);
  }
  await sleep(10_000); // for the watches to open, and to tell of a renewal
}

/** Milliseconds after which little lingers of what has been done. */
const SETTLING = 20_000;
/** The compiler and its caches are never quite done. */
const MOST_GROWTH = 4;

export const leaks: Bench = {
  about:
    'A process takes and releases locks on and on: each tenth of a new name, whose Lease is deleted.',

  async run(setting) {
    const { quick } = setting.options;
    const cycles = quick ? 3_000 : 100_000;
    const settling = quick ? 2_000 : SETTLING;
    const holder = await openHolder(setting);
    const rows: Row[] = [];
    const heaps: number[] = [];
    let done = 0;
    for (const share of [0.1, 0.5, 1]) {
      // oxlint-disable no-await-in-loop -- one after the other
      const startedAt = performance.now();
      await holder.call('cycle', cycles * share - done);
      const rate = (cycles * share - done) / (performance.now() - startedAt);
      done = cycles * share;
      await sleep(settling);
      const { heap, rss } = await holder.call('look');
      // oxlint-enable no-await-in-loop
      heaps.push(heap);
      rows.push({
        cycles: done,
        'heap MB': heap,
        'resident MB': rss,
        'cycles/s': rate * 1_000,
      });
    }
    return {
      tables: [{ title: 'Locks taken and released on and on', rows }],
      targets: [
        {
          what: `heap MB that ${done - cycles / 10} cycles add`,
          value: heaps.at(-1)! - heaps[0]!,
          most: MOST_GROWTH,
        },
      ],
      faults: [],
    };
  },
};
