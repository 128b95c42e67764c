/** Waits that abort signals end, and combined signals. A signal gets at most one listener, and none once no call waits for it. */

interface Listening {
  readonly callbacks: Set<() => void>;
  readonly listener: () => void;
}

const listening = new WeakMap<AbortSignal, Listening>();

/** Calls back when the signal aborts. @returns a function that stops listening */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const { callbacks, listener } = listening.get(signal) ?? listen(signal);
  // A wrapper, since the same function may be added twice.
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

/** A signal that aborts with the first of several, until `end` is called. */
export interface CombinedSignal {
  /** Undefined if there are none. */
  readonly signal: AbortSignal | undefined;
  /** Removes every listener from the sources; the signal then no longer aborts. */
  readonly end: () => void;
}

/** Unlike `AbortSignal.any()` of Node.js 20, it leaks no memory in a source that lives on. */
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
 * Resolves when `begin`'s callback is called; rejects with the signal's reason if it aborts first.
 *
 * @param begin starts the wait, and returns a function that is called at its end in either case
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
      stopListening?.();
      settle();
    };
    const end = begin(() => finish(resolve));
    const stopListening =
      signal && onAbort(signal, () => finish(() => reject(signal.reason)));
  });
}

/** Settles as `work` does, or rejects with the signal's reason if it aborts first; the work continues. */
export function untilAborted<T>(
  work: Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const stopListening = onAbort(signal, () => reject(signal.reason));
    void work.then(resolve, reject).finally(stopListening);
    if (signal.aborted) {
      reject(signal.reason);
    }
  });
}
