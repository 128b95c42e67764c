/** `run`: holds a lock while a command runs, under the watch of a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { join } from 'node:path';
import { LockNotAcquiredError } from '../lock.errors.js';
import { quote } from '../printable.js';
import type { LockHandle } from '../lock/hold/lock-handle.js';
import {
  numberOf,
  UsageError,
  type CommandLine,
  type Flags,
} from './arguments.js';
import { connect, type Cluster } from './cluster.js';
import { say } from './output.js';
import {
  monotonicNow,
  type FromWatchdog,
  type ToWatchdog,
} from './watchdog.messages.js';

/** The exit codes of `run`, besides those of the command. */
const NOT_ACQUIRED = 75;
const LOST = 76;
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;
/** To which the number of a signal is added. */
const SIGNALLED = 128;

/** What is passed on to the command. */
const PASSED_ON = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
] as const;
/** What ends the wait for the lock. */
const ENDS_WAIT: readonly NodeJS.Signals[] = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
];

/** A signal came before the command was started. */
class Interrupted extends Error {
  constructor(readonly signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
  }
}

export async function runCommand({
  parameters: [name = ''],
  program,
  flags,
}: CommandLine): Promise<number> {
  if (process.platform === 'win32') {
    throw new UsageError('run needs process groups, which Windows has not');
  }
  const timing = timingOfFlags(flags);
  await using cluster = await connect(flags);
  const interrupt = new AbortController();
  let receive = (signal: NodeJS.Signals): void => {
    if (ENDS_WAIT.includes(signal)) {
      interrupt.abort(new Interrupted(signal));
    }
  };
  for (const signal of PASSED_ON) {
    process.on(signal, () => receive(signal));
  }
  // Started before the lock is acquired, which is not held while a process starts.
  const watchdog = await Watchdog.start();
  try {
    const lock = await acquire(cluster, name, flags, timing, interrupt.signal);
    try {
      interrupt.signal.throwIfAborted();
      receive = (signal) => watchdog.tell({ type: 'signal', signal });
      return await runHeld(cluster, lock, watchdog, program, timing.grace);
    } finally {
      await lock.release();
    }
  } catch (error) {
    if (error instanceof Interrupted) {
      return SIGNALLED + constants.signals[error.signal];
    }
    if (error instanceof LockNotAcquiredError) {
      say(error.explanation);
      return NOT_ACQUIRED;
    }
    throw error;
  } finally {
    watchdog.dismiss();
  }
}

/** In milliseconds. */
interface Timing {
  readonly leaseDuration: number;
  readonly waitTimeout: number | undefined;
  readonly grace: number;
  readonly permits: number | undefined;
}

function timingOfFlags(flags: Flags): Timing {
  const lease = numberOf(flags, 'lease', { least: 1, whole: true }) ?? 15;
  const wait = numberOf(flags, 'wait', { least: 0 });
  const leaseDuration = lease * 1_000;
  const grace = numberOf(flags, 'grace', { least: 0 });
  return {
    leaseDuration,
    waitTimeout: wait === undefined ? undefined : wait * 1_000,
    grace: grace === undefined ? leaseDuration / 5 : grace * 1_000,
    permits: numberOf(flags, 'permits', { least: 1, whole: true }),
  };
}

async function acquire(
  { client }: Cluster,
  name: string,
  flags: Flags,
  { leaseDuration, waitTimeout, permits }: Timing,
  signal: AbortSignal,
): Promise<LockHandle> {
  const { lock, options } = await client.resolve(name, {
    leaseDuration,
    waitTimeout,
    permits,
  });
  const mode = flags.skip ? 'skip' : 'wait';
  return client.engine.acquire({ lock, options, mode, signal });
}

async function runHeld(
  { client }: Cluster,
  lock: LockHandle,
  watchdog: Watchdog,
  command: readonly string[],
  grace: number,
): Promise<number> {
  const renewals = client.events.events$.subscribe((event) => {
    if (event.type === 'renewed' && event.leaseName === lock.leaseName) {
      watchdog.tell({ type: 'renewed', deadline: machineDeadlineOf(lock) });
    }
  });
  const onLoss = (): void => {
    const { reason } = lock.signal;
    say(
      `${reason instanceof Error ? reason.message : String(reason)}: the command is ended`,
    );
    watchdog.tell({ type: 'end' });
  };
  lock.signal.addEventListener('abort', onLoss, { once: true });
  watchdog.tell({
    type: 'start',
    command,
    environment: environmentOf(lock),
    // A lock that is lost by now has no time left.
    deadline: lock.isHeld ? machineDeadlineOf(lock) : 0,
    grace,
  });
  try {
    const end = await watchdog.outcome;
    lock.signal.removeEventListener('abort', onLoss);
    return exitCodeOf(end, lock, command[0]!);
  } finally {
    renewals.unsubscribe();
  }
}

/**
 * The deadline of the lock on the clock that the watchdog reads too. Should this process be stopped between the two readings
 * of clocks, then the deadline comes out too early, never too late.
 */
function machineDeadlineOf(lock: LockHandle): number {
  const now = monotonicNow();
  return now + (lock.deadline - performance.now());
}

function environmentOf(lock: LockHandle): Record<string, string> {
  return {
    K8S_LOCK_NAME: lock.name,
    K8S_LOCK_NAMESPACE: lock.namespace,
    K8S_LOCK_LEASE: lock.leaseName,
    K8S_LOCK_HOLDER: lock.holderIdentity,
    K8S_LOCK_FENCING_TOKEN: String(lock.fencingToken),
    ...(lock.slot !== undefined && { K8S_LOCK_SLOT: String(lock.slot) }),
  };
}

function exitCodeOf(end: End, lock: LockHandle, command: string): number {
  if (end.type === 'failed') {
    return codeOfFailure(end.code, command);
  }
  if (end.type === 'gone' || end.wasEnded || !lock.isHeld) {
    say(
      end.type === 'gone'
        ? 'The watchdog of the command was killed, so the command is killed too.'
        : `The command was ended, since lock ${quote(lock.name)} could not be held any longer.`,
    );
    return LOST;
  }
  return end.signal === null
    ? (end.code ?? 0)
    : SIGNALLED + constants.signals[end.signal];
}

function codeOfFailure(code: string, command: string): number {
  if (code === 'LATE') {
    say('The lock was lost before the command was started.');
    return LOST;
  }
  const isMissing = code === 'ENOENT';
  say(
    `${quote(command)} can't be run: ${isMissing ? 'there is no such command' : code}.`,
  );
  return isMissing ? NOT_FOUND : NOT_EXECUTABLE;
}

type End =
  | Extract<FromWatchdog, { type: 'failed' | 'ended' }>
  | { readonly type: 'gone' };

/** The watchdog, as `run` sees it. */
class Watchdog {
  /** How the command has ended; never rejects. */
  readonly outcome: Promise<End>;
  private pid: number | undefined;

  private constructor(private readonly child: ChildProcess) {
    this.outcome = new Promise((resolve) => {
      child.on('message', (message: FromWatchdog) => {
        if (message.type === 'started') {
          this.pid = message.pid;
        } else if (message.type !== 'ready') {
          this.pid = undefined;
          resolve(message);
        }
      });
      // After its last message, or since it was killed: then nobody else ends the command.
      child.once('disconnect', () => {
        this.kill();
        resolve({ type: 'gone' });
      });
    });
  }

  static async start(): Promise<Watchdog> {
    const child = spawn(process.execPath, [join(__dirname, 'watchdog.js')], {
      detached: true, // a Ctrl-C on the terminal does not reach it
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    });
    const watchdog = new Watchdog(child);
    await Promise.race([once(child, 'message'), watchdog.outcome]);
    if (!child.connected) {
      throw new Error(
        'The watchdog of the command has ended before it was ready, so the command was not started.',
      );
    }
    return watchdog;
  }

  tell(message: ToWatchdog): void {
    if (this.child.connected) {
      this.child.send(message, () => {}); // it may have ended meanwhile
    }
  }

  /** Lets it end; without its command it does so at once. */
  dismiss(): void {
    if (this.child.connected) {
      this.child.disconnect();
    }
  }

  private kill(): void {
    if (this.pid !== undefined) {
      try {
        process.kill(-this.pid, 'SIGKILL');
      } catch {
        // The group is gone.
      }
    }
  }
}
