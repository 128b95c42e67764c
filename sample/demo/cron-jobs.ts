/** The demo of sample 01: a job in three replicas, one of which is killed at work. */
import { setTimeout as sleep } from 'node:timers/promises';
import { send } from './client.js';
import type { Demo, Findings, Running } from './demo.js';
import { seconds as inSeconds } from './display.js';

const INVOICES = 'invoices';
const ROUTE = { method: 'POST', path: '/invoices/send' };
const REPLICAS = ['replica-1', 'replica-2', 'replica-3'];

export const cronJobs: Demo = {
  about:
    'A @Cron job fires every second in three replicas, one runs it, and one is killed at work.',
  seconds: 15,
  replicas: Object.fromEntries(REPLICAS.map((name) => [name, {}])),
  run,
};

async function run(running: Running): Promise<Findings> {
  const { replicas, log, display, seconds, interrupt } = running;
  const end = performance.now() + seconds * 1_000;
  const skips = new Map<string, number>();
  displayReports(running, skips);

  // A request to a replica, while another one works: it waits for its turn.
  const first = await replicas.next('begin', () => true);
  await send(replicas.otherThan(first), ROUTE, display, interrupt);

  // A run takes long: a request that waits for it is answered 423.
  const hold = replicas.hold(INVOICES);
  const victim = await hold.begun;
  await send(replicas.otherThan(victim), ROUTE, display, interrupt);

  // Its replica dies. The lease expires, and another replica runs the next fire.
  const takeover = replicas.next('begin', (_, name) => name !== victim);
  const killedAt = process.hrtime.bigint();
  await replicas.kill(victim);
  hold.letGo();
  await takeover;

  await sleep(Math.max(0, end - performance.now()), undefined, {
    signal: interrupt,
  });
  return () => {
    const next = log.inOrder.find(
      (work) => work.replica !== victim && work.begin > killedAt,
    )!;
    display.table([
      { name: 'replica', numbers: ['runs', 'skips'] },
      ...REPLICAS.map((name) => {
        const runs = log.inOrder.filter((work) => work.replica === name);
        return {
          name,
          numbers: [String(runs.length), String(skips.get(name) ?? 0)],
          note: name === victim ? 'killed at work' : undefined,
        };
      }),
    ]);
    display.print();
    display.table([
      {
        name: 'takeover',
        numbers: [inSeconds(next.begin - killedAt)],
        note: 'from kill -9 to the next run: until the lease had expired',
      },
    ]);
    return [];
  };
}

function displayReports(
  { replicas, log, display }: Running,
  skips: Map<string, number>,
): void {
  replicas.on('report', (report, name) => {
    switch (report.type) {
      case 'begin':
        display.log(name, 'RUN', `fencing token ${report.token}`, {
          style: 'green',
          at: report.at,
        });
        break;
      case 'end':
        display.log(name, report.isDone ? 'done' : 'fail', '', report);
        break;
      case 'waiting':
        display.log(name, 'wait', 'for the lock', report);
        break;
      case 'held':
      case 'fire-claimed': {
        skips.set(name, (skips.get(name) ?? 0) + 1);
        const worker = log.workerOn(INVOICES);
        display.log(
          name,
          'skip',
          report.type === 'held' && worker
            ? `${worker} has the lock`
            : 'another replica has run this fire',
          { style: 'dim', at: report.at },
        );
      }
    }
  });
}
