/** Follows claimed work that another holder has begun, for whoever is to do it should that one die. */
import type { Claim } from './claim.js';
import type { Clock } from './clock.js';
import type { LeaseCell } from './lease-cell.js';

/**
 * Resolves when the claimed work is not under way any more: it is done or overtaken by later work, or
 * its holder is gone. Costs no requests beside the watch. Should that be dead, its holder seems to be
 * gone in the end, and whoever then wants to take over finds out by the compare-and-swap.
 */
export async function followClaim(
  cell: LeaseCell,
  claim: Claim,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const stopWatching = cell.keepWatched();
  const { observation } = cell;
  try {
    while (observation.judgeClaim(claim).state === 'running') {
      const verdict = observation.judge();
      if (verdict.takeable) {
        return; // it expired between the two looks at the clock
      }
      const { expiresAt = Infinity } = verdict;
      // oxlint-disable-next-line no-await-in-loop -- one change after the other
      await cell.changeOrTime(expiresAt - clock.now(), signal);
    }
  } finally {
    stopWatching();
  }
}
