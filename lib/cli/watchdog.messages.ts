/** What `run` and the watchdog of its command tell each other, and the clock that both read. */

/** To the watchdog. Times are of {@link monotonicNow}. */
export type ToWatchdog =
  | {
      readonly type: 'start';
      readonly command: readonly string[];
      readonly environment: Readonly<Record<string, string>>;
      /** When the lock is given up unless it is renewed. */
      readonly deadline: number;
      /** Milliseconds from SIGTERM to SIGKILL. */
      readonly grace: number;
    }
  | { readonly type: 'renewed'; readonly deadline: number }
  | { readonly type: 'signal'; readonly signal: NodeJS.Signals }
  /** The lock is lost: the command must end. */
  | { readonly type: 'end' };

/** From the watchdog. */
export type FromWatchdog =
  | { readonly type: 'ready' }
  | { readonly type: 'started'; readonly pid: number }
  /** The command was not started. */
  | { readonly type: 'failed'; readonly code: string }
  | {
      readonly type: 'ended';
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
      /** Whether the watchdog has ended it. */
      readonly wasEnded: boolean;
    };

/** Milliseconds on the monotonic clock of the machine, which all its processes share. */
export function monotonicNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
