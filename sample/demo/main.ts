/**
 * The demo of a sample: starts an API server and three replicas of the application, makes happen what its locks
 * are for, and says whether they did what they promise.
 */
import { once } from 'node:events';
import { ArgumentError, readArguments, type Arguments } from './arguments.js';
import { embeddedCluster, localCluster } from './cluster.js';
import { cronJobs } from './cron-jobs.js';
import type { Demo, Findings } from './demo.js';
import { Display } from './display.js';
import { http } from './http.js';
import { oncePerFire } from './once-per-fire.js';
import { MissingError, Replicas } from './replicas.js';
import { WorkLog } from './work-log.js';

const DEMOS: Readonly<Record<string, Demo>> = {
  '01-cron-jobs': cronJobs,
  '02-http': http,
  '03-once-per-fire': oncePerFire,
};

const USAGE = `Usage: npm start -- [SAMPLE] [options]

  SAMPLE           one of
${Object.entries(DEMOS)
  .map(([name, { about }]) => `    ${name.padEnd(18)}${about}`)
  .join('\n')}
  --cluster        run against the cluster of your kubeconfig (KUBECONFIG or ~/.kube/config)
                   instead of an embedded API server
  --keep           let the replicas run on at the end, until Ctrl-C, with their dashboard
  --seconds N      how long it lasts, 1 to 3600
  --without-lock   give each replica its own locks, to see what they are for: fails
  --help           print this

Exit code 0: no two replicas did the same work at the same time, and all else went as the sample says.
`;

process.exitCode = await main();

/** @returns the exit code: 1 = it failed, 2 = the command line is wrong, 130 = it was interrupted */
async function main(): Promise<number> {
  let options: Arguments | undefined;
  try {
    options = readArguments(process.argv.slice(2), Object.keys(DEMOS));
  } catch (error) {
    if (!(error instanceof ArgumentError)) {
      throw error;
    }
    process.stderr.write(`${error.message}\n\n${USAGE}`);
    return 2;
  }
  if (options === undefined) {
    process.stdout.write(USAGE);
    return 0;
  }
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => interrupt.abort(signal));
  }
  const display = new Display();
  const faults = await run(options, display, interrupt.signal);
  if (interrupt.signal.aborted) {
    display.print(`\nEnded by ${String(interrupt.signal.reason)}.`);
    return 130;
  }
  if (faults.length > 0) {
    display.print(`FAILED: ${faults.join('; ')}.`, 'red');
    return 1;
  }
  display.print(
    'OK: no two replicas did the same work at the same time.',
    'green',
  );
  return 0;
}

/** Leaves nothing running that it has started, however it ends; returns what went wrong. */
async function run(
  { sample, cluster: isLocal, withoutLock, keep, seconds }: Arguments,
  display: Display,
  interrupt: AbortSignal,
): Promise<string[]> {
  const demo = DEMOS[sample]!;
  const log = new WorkLog();
  const faults: string[] = [];
  let findings: Findings | undefined;
  try {
    await using cluster = isLocal ? localCluster() : await embeddedCluster();
    display.print(`
${demo.about}${withoutLock ? '\nEach replica has its own locks, which keep nobody out.' : ''}

  application  sample/${sample}
  API server   ${cluster.description}
`);
    await using replicas = new Replicas(sample, log, display, interrupt);
    await replicas.start(Object.keys(demo.replicas), (name) => ({
      ...cluster.env,
      ...demo.replicas[name],
      LOCK_PREFIX: `sample-${sample}-${withoutLock ? `${name}-` : ''}`,
    }));
    for (const { name, url } of replicas.all) {
      display.log(name, 'page', `dashboard: ${url}/locks`);
    }
    findings = await demo.run({
      replicas,
      log,
      display,
      seconds: seconds ?? demo.seconds,
      withoutLock,
      interrupt,
    });
    if (keep && !interrupt.aborted) {
      display.print('\nThe replicas and their dashboard stay until Ctrl-C.');
      await once(interrupt, 'abort');
    }
    display.log(
      'all',
      'stop',
      'SIGTERM: the work ends, the locks are released',
    );
  } catch (error) {
    if (error instanceof MissingError) {
      faults.push(error.message);
    } else if (!interrupt.aborted) {
      throw error;
    }
  }
  const overlaps = log.countOverlaps();
  const lowTokens = log.countLowTokens();
  display.print();
  faults.push(...(findings?.() ?? []));
  display.table([
    {
      name: 'overlaps',
      numbers: [String(overlaps)],
      note: 'pairs of works under one lock that had a moment in common',
    },
    {
      name: 'low tokens',
      numbers: [String(lowTokens)],
      note: 'works whose fencing token was not greater than that of the work before',
    },
  ]);
  display.print();
  if (overlaps > 0) {
    faults.push(
      `replicas did the same work at the same time, ${overlaps} times`,
    );
  }
  if (lowTokens > 0) {
    faults.push('a fencing token was not greater than the one before it');
  }
  return faults;
}
