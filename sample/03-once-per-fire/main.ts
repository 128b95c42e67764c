/**
 * The show: starts an API server and three replicas of the application in `app/`, whose clocks differ,
 * and counts how often each fire of its two jobs was run. What a user writes is all in `app/`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { openCluster } from '../stage/cluster.js';
import { runShow } from '../stage/command-line.js';
import { Replicas } from '../stage/replicas.js';
import { readFires, USAGE } from './show/arguments.js';
import type { Report } from './show/report.js';
import { Tally } from './show/tally.js';

const PROGRAM = new URL('./replica.js', import.meta.url);

/** By how many milliseconds the clock of each replica is off. */
const SHIFTS: Readonly<Record<string, number>> = {
  ahead: 400,
  right: 0,
  behind: -400,
};
const SECOND = 1_000;
/** From the start of the last replica to the first fire that counts. */
const WARM_UP = 2 * SECOND;
/** After the last fire that counts: for the replica whose clock is behind. */
const LAST_RUNS = 1.2 * SECOND;

process.exitCode = await runShow({ usage: USAGE, read: readFires, perform });

/** Raises the curtain and drops it: whatever happens, nothing that was started is left running. */
async function perform(
  count: number,
  interrupt: AbortSignal,
): Promise<boolean> {
  const tally = new Tally();
  await using cluster = await openCluster({ cluster: false });
  await using replicas = new Replicas<Report>(PROGRAM, {
    report: (name, { job, fire }) => tally.add(job, fire, name),
    line: (name, line) => process.stderr.write(`${name}: ${line}\n`),
  });
  const signal = AbortSignal.any([interrupt, replicas.crashed]);
  try {
    const envOf = (name: string): NodeJS.ProcessEnv => ({
      ...cluster.env,
      CLOCK_SHIFT: String(SHIFTS[name]),
    });
    await replicas.start(Object.keys(SHIFTS), envOf, signal);
    const fires = await showFires(count, tally, signal);
    return judge(fires, tally);
  } catch (error) {
    if (!signal.aborted) {
      throw error;
    }
    if (replicas.crashed.aborted) {
      print(`FAILED: ${String(signal.reason)}.`);
    }
    return false;
  }
}

/** Resolves with the fires that count, when all replicas had the time to run them. */
async function showFires(
  count: number,
  tally: Tally,
  signal: AbortSignal,
): Promise<number[]> {
  const first = Math.ceil((Date.now() + WARM_UP) / SECOND) * SECOND;
  const fires = [...Array(count).keys()].map((i) => first + i * SECOND);
  print(
    'Three replicas, whose clocks are 0.4 s ahead, right, and 0.4 s behind:',
  );
  print(row('planned for', 'oncePerFire, the default', 'oncePerFire: false'));
  for (const fire of fires) {
    // oxlint-disable-next-line no-await-in-loop -- one fire after the other
    await sleep(fire + LAST_RUNS - Date.now(), undefined, { signal });
    const who = (['once-per-fire', 'lock-only'] as const).map((job) =>
      tally.who(job, fire).join(', '),
    );
    print(row(new Date(fire).toISOString().slice(11, 19), ...who));
  }
  return fires;
}

function judge(fires: readonly number[], tally: Tally): boolean {
  const claimed = tally.score('once-per-fire', fires);
  const unclaimed = tally.score('lock-only', fires);
  const cells = (name: keyof typeof claimed) =>
    row(name, String(claimed[name]), String(unclaimed[name]));
  print(
    `\n${row(`${fires.length} fires`, 'oncePerFire', 'oncePerFire: false')}`,
  );
  print(`${cells('runs')}\n${cells('doubles')}\n${cells('missed')}\n`);
  const faults = [
    ...(claimed.doubles > 0 ? ['fires were run twice'] : []),
    ...(claimed.missed > 0 ? ['fires were missed'] : []),
    ...(unclaimed.doubles === 0
      ? ['without oncePerFire no fire was run twice, so this shows nothing']
      : []),
  ];
  print(
    faults.length > 0
      ? `FAILED: ${faults.join('; ')}.`
      : 'OK: with oncePerFire each fire was run once.',
  );
  return faults.length === 0;
}

function row(...[first = '', second = '', third = '']: string[]): string {
  return `  ${first.padEnd(13)}${second.padEnd(26)}${third}`;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
