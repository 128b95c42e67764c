/** Warns at startup of a lock that does not fit the schedule of its method. */
import type { Plan } from './planned-fires.js';

/** The number of fires that are searched for the shortest period. */
const FIRES = 50;

/** The warning for a lock that `minHold` still keeps at the next fire; undefined if it does not. */
export function describeShortPeriod(
  { label, minHold }: { readonly label: string; readonly minHold: number },
  plan: Plan,
): string | undefined {
  // Other processes see minHold in whole seconds.
  const held = Math.ceil(minHold / 1_000) * 1_000;
  const shortest = held > 0 ? findShortestPeriod(plan) : Infinity;
  return held >= shortest
    ? `${label}: minHold (${minHold} ms) is not shorter than the ${shortest} ms between two of its fires, so the lock is still taken at the next fire, which is skipped: use a shorter minHold`
    : undefined;
}

function findShortestPeriod(plan: Plan): number {
  let shortest = Infinity;
  let at = plan.next(Date.now());
  for (let fire = 0; fire < FIRES && at < Infinity; fire += 1) {
    const next = plan.next(at);
    shortest = Math.min(shortest, next - at);
    at = next;
  }
  return shortest;
}
