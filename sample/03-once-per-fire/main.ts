/**
 * The show: starts an API server and three replicas of the application in `app/`, whose clocks differ,
 * and counts how often each fire of its two jobs was run. What a user writes is all in `app/`.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LeaseApiServer } from 'nestjs-k8s-lock/testing';
import { ArgumentError, readFires, USAGE } from './show/arguments.js';
import { Replica } from './show/replica.js';
import { Tally } from './show/tally.js';

/** By how many milliseconds the clock of each replica is off. */
const SHIFTS = { ahead: 400, right: 0, behind: -400 };
const SECOND = 1_000;
/** From the start of the last replica to the first fire that counts. */
const WARM_UP = 2 * SECOND;
/** After the last fire that counts: for the replica whose clock is behind. */
const LAST_RUNS = 1.2 * SECOND;

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    const fires = readFires(process.argv.slice(2));
    if (fires === undefined) {
      print(USAGE);
      return 0;
    }
    return await perform(fires);
  } catch (error) {
    if (!(error instanceof ArgumentError)) {
      throw error;
    }
    process.stderr.write(`${error.message}\n\n${USAGE}`);
    return 2;
  }
}

async function perform(count: number): Promise<number> {
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => interrupt.abort(`ended by ${signal}`));
  }
  const tally = new Tally();
  let fires: number[] = [];
  try {
    fires = await runReplicas(count, tally, interrupt);
  } catch (error) {
    if (!interrupt.signal.aborted) {
      throw error;
    }
    print(`FAILED: ${String(interrupt.signal.reason)}`);
    return 1;
  }
  return judge(fires, tally) ? 0 : 1;
}

/** Resolves with the fires that count, when all replicas had the time to run them and have ended. */
async function runReplicas(
  count: number,
  tally: Tally,
  interrupt: AbortController,
): Promise<number[]> {
  const { signal } = interrupt;
  await using cluster = await startCluster();
  const replicas: Replica[] = [];
  await using _ = {
    [Symbol.asyncDispose]: async () => {
      await Promise.all(
        replicas.map((replica) => replica[Symbol.asyncDispose]()),
      );
    },
  };
  const ready = Object.entries(SHIFTS).map(
    ([name, shift]) =>
      new Promise<void>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        const env = { KUBECONFIG: cluster.kubeConfig, CLOCK_SHIFT: `${shift}` };
        const replica = new Replica(
          name,
          env,
          (report) =>
            report.type === 'ready'
              ? resolve()
              : tally.add(report.job, report.fire, name),
          (how) => interrupt.abort(how),
        );
        replicas.push(replica);
      }),
  );
  await Promise.all(ready);
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

async function startCluster() {
  const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-sample-'));
  const server = await LeaseApiServer.start();
  const kubeConfig = join(folder, 'kubeconfig');
  await writeFile(kubeConfig, server.kubeConfigYaml());
  return {
    kubeConfig,
    [Symbol.asyncDispose]: async () => {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
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
