/** Processes are killed: one that holds locks, and one that waits for a lock. */
import { setTimeout as sleep } from 'node:timers/promises';
import { monotonic } from '../../verification/processes/programs/calls.js';
import { percentile, type Row, type Target } from '../report.js';
import {
  openLockers,
  renewalModes,
  type Bench,
  type Locker,
  type Setting,
} from '../setting.js';

const LEASE = 3_000;
const LOCKS = 20;
const MOST_BEYOND_LEASE = 250;

export const takeover: Bench = {
  about: `A process that holds ${LOCKS} locks is killed (kill -9) while another waits for all of them.`,

  async run(setting) {
    const rows: Row[] = [];
    const targets: Target[] = [];
    for (const { renewal, options } of await renewalModes(setting)) {
      const beyond: number[] = [];
      for (let round = 0; round < (setting.options.quick ? 1 : 5); round += 1) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        beyond.push(...(await killHolder(setting, options)));
      }
      const p99 = percentile(beyond, 0.99);
      rows.push({
        renewal,
        locks: beyond.length,
        'p50 ms': percentile(beyond, 0.5),
        'p99 ms': p99,
      });
      targets.push({
        what: `renewal '${renewal}': takeover p99, ms beyond leaseDuration`,
        value: p99,
        most: MOST_BEYOND_LEASE,
      });
    }
    const title = `From kill -9 to acquired by another process, beyond the leaseDuration of ${LEASE} ms`;
    return { tables: [{ title, rows }], targets, faults: [] };
  },
};

/** @returns for each lock the milliseconds beyond leaseDuration */
async function killHolder(
  setting: Setting,
  options: object,
): Promise<number[]> {
  const [holder, waiter] = await openLockers(setting, 2, {
    leaseDuration: LEASE,
    ...options,
  });
  const names = Array.from({ length: LOCKS }, (_, n) => `${holder!.pid}-${n}`);
  await Promise.all(names.map((name) => holder!.call('acquire', name)));
  const taken = names.map((name) => waiter!.call('acquire', name));
  await Promise.all(names.map((name) => waiter!.event('waiting', { name })));
  // At any time between two renewals.
  await sleep(LEASE * (0.5 + Math.random()));
  const killedAt = monotonic();
  holder!.signal('SIGKILL');
  const all = await Promise.all(taken);
  return all.map(({ at }) => at - killedAt - LEASE);
}

const HANDOVERS = 10;
const GRANT = 3_000;
/** Milliseconds that no handover takes but one that meets a dead waiter. */
const DELAYED = 500;
/** Milliseconds in which one that waits has said so to the API server. */
const ENROLMENT = 300;

export const deadWaiter: Bench = {
  about: `A process is killed while it is the next to get the lock of two others, which hand it to each other ${HANDOVERS} times.`,

  async run(setting) {
    const [one, other] = await openLockers(setting, 2);
    const rows: Row[] = [];
    let worst = 0;
    let mostDelayed = 0;
    for (let round = 0; round < (setting.options.quick ? 1 : 3); round += 1) {
      for (const dies of [false, true]) {
        const name = `${round}-${dies}`;
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        const delays = await handOver(setting, [one!, other!], name, dies);
        const delayed = delays.filter((delay) => delay > DELAYED).length;
        rows.push({
          'next in line': dies ? 'is killed' : 'lives',
          'first handover ms': delays[0]!,
          'longest of the others ms': Math.max(...delays.slice(1)),
          [`over ${DELAYED} ms`]: delayed,
        });
        if (dies) {
          worst = Math.max(worst, ...delays);
          mostDelayed = Math.max(mostDelayed, delayed);
        }
      }
    }
    return {
      tables: [{ title: 'A waiter is killed while it is next in line', rows }],
      targets: [
        {
          what: 'longest handover with a dead waiter, ms',
          value: worst,
          most: GRANT + 250,
        },
        {
          what: 'handovers that a dead waiter delays',
          value: mostDelayed,
          most: 1,
        },
      ],
      faults: [],
    };
  },
};

/** @returns how long each handover took, in milliseconds */
async function handOver(
  setting: Setting,
  pods: readonly [Locker, Locker],
  name: string,
  dies: boolean,
): Promise<number[]> {
  let [giver, taker] = pods;
  await giver.call('acquire', name);
  const mortal = dies ? (await openLockers(setting, 1))[0]! : undefined;
  if (mortal) {
    // It rejects when it is killed.
    await inLine(mortal, name, () =>
      mortal.call('acquire', name).catch(ignore),
    );
  }
  const delays: number[] = [];
  for (let number = 0; number < HANDOVERS; number += 1) {
    // oxlint-disable no-await-in-loop -- one handover after the other
    const [from, to] = [giver, taker];
    const taken = await inLine(to, name, () => to.call('acquire', name));
    if (number === 0) {
      await mortal?.[Symbol.asyncDispose](); // kill -9
    }
    const releasedAt = await from.call('release', name);
    delays.push((await taken()).at - releasedAt);
    // oxlint-enable no-await-in-loop
    [giver, taker] = [to, from];
  }
  await giver.call('release', name);
  return delays;
}

/** Has a pod ask for a lock, and waits until it is in line. @returns what its call comes to */
async function inLine<T>(
  pod: Locker,
  name: string,
  ask: () => Promise<T>,
): Promise<() => Promise<T>> {
  const waiting = pod.nextEvent('waiting', { name });
  const asked = ask();
  await waiting;
  await sleep(ENROLMENT);
  return () => asked;
}

function ignore(): void {}
