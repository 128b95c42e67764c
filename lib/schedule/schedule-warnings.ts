/** What an application is warned of at its start, because a schedule and its lock do not go together. */
import type { Plan } from './planned-fires.js';

/** So many fires are looked at for two that are close to each other. */
const FIRES = 50;

/** A lock that is still held when the next fire comes; undefined if it is not. */
export function describeShortPeriod(
  { label, minHold }: { readonly label: string; readonly minHold: number },
  plan: Plan,
): string | undefined {
  // Others see it in whole seconds.
  const held = Math.ceil(minHold / 1_000) * 1_000;
  const shortest = held > 0 ? findShortestPeriod(plan) : Infinity;
  return held >= shortest
    ? `${label}: minHold (${minHold} ms) is not shorter than the ${shortest} ms between two of its fires, so that a fire finds the lock taken by the one before, and is skipped`
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
