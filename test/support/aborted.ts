/** Waits for the abort of a signal, which may have come already. */

/**
 * Resolves with the reason of the signal when it has aborted: at once if that was before the call. Unlike
 * `once(signal, 'abort')`, which then waits for ever, it may be called after what makes the signal abort.
 */
export function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    const end = (): void => resolve(signal.reason);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) {
      end();
    }
  });
}
