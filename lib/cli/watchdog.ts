/**
 * The watchdog of `run`: a process in a session of its own, which starts the command and ends it before another process can
 * hold the lock. It knows the deadline of the lock, and `run` tells it each later one. So the command ends in time even if
 * `run` is killed (the channel between them closes), is stopped, or can't renew the lock (no later deadline comes).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import {
  monotonicNow,
  type FromWatchdog,
  type ToWatchdog,
} from './watchdog.messages.js';

/** Milliseconds before the deadline at which SIGKILL is sent: a timer may be late on a busy machine. */
const MARGIN = 250;
/** The parts of the time left to the deadline that the margin and the grace take at most. */
const MARGIN_PART = 10;
const GRACE_PART = 4;
/** The longest delay of a timer, in milliseconds. */
const LONGEST_DELAY = 1_000_000_000;

let child: ChildProcess | undefined;
let grace = 0;
/** When to ask the command to end, and when to kill it. */
let termAt = Infinity;
let killAt = Infinity;
let isEnding = false;
let timer: NodeJS.Timeout | undefined;

/** Takes over a later deadline. A command that was asked to end gets no more time. */
function heed(deadline: number): void {
  const left = deadline - monotonicNow();
  const next = deadline - Math.min(MARGIN, left / MARGIN_PART);
  if (isEnding || (killAt !== Infinity && next <= killAt)) {
    return;
  }
  killAt = next;
  termAt = killAt - Math.min(grace, left / GRACE_PART);
  look();
}

function look(): void {
  clearTimeout(timer);
  if (child === undefined) {
    return;
  }
  const now = monotonicNow();
  if (now >= killAt) {
    isEnding = true;
    signalGroup('SIGKILL');
    return;
  }
  if (now >= termAt && !isEnding) {
    isEnding = true;
    signalGroup('SIGTERM');
    signalGroup('SIGCONT'); // a stopped process gets no SIGTERM before
  }
  const next = isEnding ? killAt : termAt;
  timer = setTimeout(look, Math.min(Math.ceil(next - now), LONGEST_DELAY));
}

/** The lock is lost, or `run` is gone: nobody renews any more. */
function end(): void {
  if (!isEnding) {
    termAt = monotonicNow();
    killAt = Math.min(killAt, termAt + grace);
    look();
  }
}

function start(message: Extract<ToWatchdog, { type: 'start' }>): void {
  const [file = '', ...args] = message.command;
  ({ grace } = message);
  if (message.deadline <= monotonicNow()) {
    return fail('LATE');
  }
  let started: ChildProcess;
  try {
    started = spawn(file, args, {
      detached: true, // its group gets the signals
      stdio: 'inherit',
      // Without the slot of another lock, under which `run` may have been started.
      env: {
        ...process.env,
        K8S_LOCK_SLOT: undefined,
        ...message.environment,
      },
    });
  } catch (error) {
    return fail(codeOf(error));
  }
  started.once('error', (error) => {
    if (started.pid === undefined) {
      fail(codeOf(error));
    }
  });
  if (started.pid === undefined) {
    return;
  }
  child = started;
  started.once('exit', (code, signal) => {
    // What it has left running has no lock any more.
    signalGroup('SIGKILL');
    clearTimeout(timer);
    child = undefined;
    tell({ type: 'ended', code, signal, wasEnded: isEnding });
    process.disconnect?.();
  });
  tell({ type: 'started', pid: started.pid });
  heed(message.deadline);
}

function fail(code: string): void {
  tell({ type: 'failed', code });
  process.disconnect?.();
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

function signalGroup(signal: NodeJS.Signals): void {
  const pid = child?.pid;
  if (pid === undefined) {
    return;
  }
  try {
    process.kill(-pid, signal);
  } catch {
    // The group is gone.
  }
}

function tell(message: FromWatchdog): void {
  if (process.connected) {
    process.send?.(message, () => {}); // `run` may be gone
  }
}

process.on('message', (message: ToWatchdog) => {
  switch (message.type) {
    case 'start':
      return start(message);
    case 'renewed':
      return heed(message.deadline);
    case 'signal':
      return signalGroup(message.signal);
    case 'end':
      return end();
  }
});
process.once('disconnect', end);
// Signals to all processes at once: `run` passes its own on.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
  process.on(signal, () => {});
}
tell({ type: 'ready' });
