/**
 * The show: starts an API server and three replicas of the application in `app/`, sends requests to all of
 * them at once, and judges what they answered and what they did. The locks are all in `app/`.
 */
import { EventEmitter } from 'node:events';
import { readArguments, type Arguments } from '../stage/arguments.js';
import { openCluster } from '../stage/cluster.js';
import { runShow } from '../stage/command-line.js';
import { Display } from '../stage/display.js';
import { Replicas } from '../stage/replicas.js';
import {
  BrokenPromise,
  playCrowd,
  playHangingLedger,
  playOrder,
  playReminders,
  type Stage,
} from './show/acts.js';
import { Clients } from './show/client.js';
import { Ledger } from './show/ledger.js';
import type { Report } from './show/report.js';
import { SECONDS, USAGE } from './show/usage.js';
import { judge } from './show/verdict.js';

const PROGRAM = new URL('./replica.js', import.meta.url);
const REPLICAS = ['replica-1', 'replica-2', 'replica-3'];

process.exitCode = await runShow({
  usage: USAGE,
  read: (args) => readArguments(args, SECONDS),
  perform,
});

/** Raises the curtain and drops it: whatever happens, nothing that was started is left running. */
async function perform(
  options: Arguments,
  interrupt: AbortSignal,
): Promise<boolean> {
  const display = new Display();
  const clients = new Clients();
  const news = new EventEmitter();
  const broken: string[] = [];
  await using cluster = await openCluster(options);
  await using ledger = await Ledger.start(news);
  await using replicas = new Replicas<Report>(PROGRAM, {
    report: (_, { lock, type }) => news.emit(`${lock} ${type}`),
    line: (name, line) => display.log(name, 'log', line),
  });
  const signal = AbortSignal.any([interrupt, replicas.crashed]);
  introduce(cluster.description, options, display);
  try {
    const envOf = (name: string): NodeJS.ProcessEnv => ({
      ...cluster.env,
      LEDGER_URL: ledger.url,
      LOCK_PREFIX: `sample-02-${options.withoutLock ? `${name}-` : ''}`,
    });
    const started = await replicas.start(REPLICAS, envOf, signal);
    await play(options, {
      replicas: started,
      news,
      ledger,
      clients,
      display,
      signal,
    });
  } catch (error) {
    if (error instanceof BrokenPromise) {
      broken.push(error.message);
    } else if (replicas.crashed.aborted) {
      broken.push(String(replicas.crashed.reason));
    } else if (!interrupt.aborted) {
      throw error;
    }
  }
  return !interrupt.aborted && judge(clients, ledger, broken, display);
}

function introduce(
  apiServer: string,
  { seconds, withoutLock }: Arguments,
  display: Display,
): void {
  display.print(
    `
One application in three replicas, whose routes are under locks: one for each order.
${
  withoutLock
    ? 'Each replica has locks of its own, which are as good as none.'
    : 'A request that finds its lock taken waits, is refused, or has nothing to do.'
}

  application  sample/02-http/app
  API server   ${apiServer}
  clients      six, for ${seconds} s
`,
  );
}

async function play(
  { seconds, withoutLock }: Arguments,
  stage: Stage,
): Promise<void> {
  const { display, clients } = stage;
  display.log('client', 'crowd', 'begins: two clients at each replica');
  await playCrowd(stage, seconds);
  display.log('client', 'crowd', `has got ${clients.answers.length} answers`);
  if (withoutLock) {
    return; // nobody is ever in another's way
  }
  await playOrder(stage);
  await playReminders(stage);
  await playHangingLedger(stage);
}
