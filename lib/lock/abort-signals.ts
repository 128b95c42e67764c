/** Signals: waits that they end, and listening to those that others own: each gets one listener of ours, however many calls wait for it, and none when no call does. */

interface Listening {
  readonly callbacks: Set<() => void>;
  readonly listener: () => void;
}

const listening = new WeakMap<AbortSignal, Listening>();

/** Calls back when the signal aborts. @returns what ends that */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const { callbacks, listener } = listening.get(signal) ?? listen(signal);
  // The same function may wait twice.
  const own = (): void => callback();
  callbacks.add(own);
  return () => {
    callbacks.delete(own);
    if (
      callbacks.size === 0 &&
      listening.get(signal)?.callbacks === callbacks
    ) {
      listening.delete(signal);
      signal.removeEventListener('abort', listener);
    }
  };
}

function listen(signal: AbortSignal): Listening {
  const callbacks = new Set<() => void>();
  const listener = (): void => {
    listening.delete(signal);
    callbacks.forEach((callback) => callback());
  };
  const entry = { callbacks, listener };
  listening.set(signal, entry);
  signal.addEventListener('abort', listener, { once: true });
  return entry;
}

/** A signal that aborts with the first of several, for as long as somebody needs it. */
export interface CombinedSignal {
  /** Undefined if there are none. */
  readonly signal: AbortSignal | undefined;
  /** It aborts no more, and leaves nothing with those that it is made of. */
  readonly end: () => void;
}

/** Unlike `AbortSignal.any()`, of which Node.js 20 keeps something with each source for as long as that lives. */
export function anyOf(
  ...signals: readonly (AbortSignal | undefined)[]
): CombinedSignal {
  const given = [...new Set(signals.filter((each) => each !== undefined))];
  if (given.length <= 1) {
    return { signal: given[0], end: () => undefined };
  }
  const combined = new AbortController();
  const aborted = given.find((each) => each.aborted);
  if (aborted !== undefined) {
    combined.abort(aborted.reason);
    return { signal: combined.signal, end: () => undefined };
  }
  const ends = given.map((each) =>
    onAbort(each, () => combined.abort(each.reason)),
  );
  return {
    signal: combined.signal,
    end: () => ends.forEach((end) => end()),
  };
}

/**
 * Resolves when what `begin` has begun calls back; rejects with the signal's reason when that aborts first.
 *
 * @param begin returns what ends the wait, in either case
 */
export function waitUntil(
  begin: (done: () => void) => () => void,
  signal?: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const finish = (settle: () => void): void => {
      end();
      signal?.removeEventListener('abort', abort);
      settle();
    };
    const abort = (): void => finish(() => reject(signal?.reason));
    const end = begin(() => finish(resolve));
    signal?.addEventListener('abort', abort, { once: true });
  });
}
