/** The names of the Leases that locks and semaphores are made of. */
import type { LockProfile } from './programs/messages.js';

/** Of a semaphore: those of its slots, and its line. */
export function leasesOf({
  name,
  options: { permits = 1 },
}: LockProfile): string[] {
  const slots = Array.from({ length: permits - 1 }, (_, slot) => slot + 1);
  return [
    name,
    ...slots.map((slot) => `${name}--slot-${slot}`),
    ...(permits > 1 ? [`${name}--line`] : []),
  ];
}
