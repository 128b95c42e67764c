/**
 * The show: starts an API server and three replicas of the application in `app/`, calls its route,
 * kills the replica that holds the lock, and judges what it saw. The lock itself is all in `app/`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { readArguments, type Arguments } from '../stage/arguments.js';
import { openCluster } from '../stage/cluster.js';
import { runShow } from '../stage/command-line.js';
import { Display } from '../stage/display.js';
import { callRoute } from './show/client.js';
import { ReplicaSet } from './show/replica-set.js';
import { RunLog } from './show/run-log.js';
import { SECONDS, USAGE } from './show/usage.js';
import { judge, type Outcome } from './show/verdict.js';

/** Far more than the lease and the wait for a fire together. */
const TAKEOVER_PATIENCE = 20_000;
/** More than passes between two runs. */
const LONGEST_LULL = 3_000;

process.exitCode = await runShow({
  usage: USAGE,
  read: (args) => readArguments(args, SECONDS),
  perform: async (options, interrupt) => {
    const display = new Display();
    const log = new RunLog();
    const outcome = await perform(options, log, display, interrupt);
    return !interrupt.aborted && judge(log, outcome, display);
  },
});

/** Raises the curtain and drops it: whatever happens, nothing that was started is left running. */
async function perform(
  options: Arguments,
  log: RunLog,
  display: Display,
  interrupt: AbortSignal,
): Promise<Outcome> {
  const outcome: Outcome = {};
  await using cluster = await openCluster(options);
  introduce(cluster.description, options, display);
  await using replicas = new ReplicaSet(log, display);
  const signal = AbortSignal.any([interrupt, replicas.crashed]);
  try {
    await replicas.start((name) => {
      const own = options.withoutLock ? `${name}-` : '';
      return { ...cluster.env, LOCK_PREFIX: `sample-01-${own}` };
    }, signal);
    await play(options.seconds, { replicas, log, display, outcome, signal });
  } catch (error) {
    if (!signal.aborted) {
      throw error;
    }
    outcome.crash = String(signal.reason);
  }
  display.log('all', 'stop', 'SIGTERM: no new runs, release the lock');
  return outcome;
}

function introduce(
  apiServer: string,
  { seconds, withoutLock }: Arguments,
  display: Display,
): void {
  display.print(
    `
One application in three replicas, with a @Cron job that fires every second.
${
  withoutLock
    ? 'Each replica has a lock of its own, which is as good as none: all run it.'
    : '@WithLeaseLock lets one replica run it, and the others skip.'
}

  application  sample/01-cron-jobs/app
  API server   ${apiServer}
  duration     ${seconds} s, in which one replica is killed at work
`,
  );
}

interface Stage {
  readonly replicas: ReplicaSet;
  readonly log: RunLog;
  readonly display: Display;
  readonly outcome: Outcome;
  readonly signal: AbortSignal;
}

async function play(length: number, stage: Stage): Promise<void> {
  const { replicas, log, display, outcome, signal } = stage;
  const start = performance.now();
  /** Waits until this part of the time is over. */
  const part = (share: number): Promise<void> =>
    sleep(
      Math.max(0, start + share * length * 1_000 - performance.now()),
      undefined,
      { signal },
    );

  /** The next run that begins or ends, if there is one before the time is over. */
  const nextOrTimeout = (
    event: 'begin' | 'end',
    timeout: AbortSignal,
  ): Promise<unknown> =>
    replicas
      .next(event, AbortSignal.any([signal, timeout]))
      .catch(() => signal.throwIfAborted());

  // A request to one replica while another works: it waits for its turn.
  await part(0.2);
  const { replica } = await replicas.next('begin', signal);
  await callRoute(replicas.otherThan(replica), display, signal);

  // A replica dies at work. Nobody can know that at once: the route answers 423.
  await part(0.4);
  while (!outcome.kill && replicas.size > 1) {
    const run = await replicas.next('begin', signal);
    outcome.kill = await replicas.kill(run.replica);
  }
  if (!outcome.kill) {
    return;
  }
  await callRoute(replicas.otherThan(outcome.kill.replica), display, signal);

  // Its lease expires, and the fire that has come meanwhile is another's.
  const patience = AbortSignal.timeout(TAKEOVER_PATIENCE);
  while (!log.findTakeover(outcome.kill) && !patience.aborted) {
    await nextOrTimeout('begin', patience);
  }

  // The end, between two fires.
  await part(1);
  await nextOrTimeout('end', AbortSignal.timeout(LONGEST_LULL));
}
