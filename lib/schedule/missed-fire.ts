/** Whether a planned fire was missed, as the record of its lock says. */
import type { Lease } from '../kube/lease-store.js';
import { judgeClaim, readClaim } from '../lock/record/fire-claim.js';
import type { Fire } from './planned-fires.js';

/**
 * A record that knows of no fire says nothing about missed ones: the job is new. Whether a holder that has
 * begun the fire is alive is for the call that makes up for it to find out.
 */
export function isMissed(
  fire: Fire,
  retry: boolean,
  lease: Lease | null,
): boolean {
  if (lease === null || readClaim(lease) === undefined) {
    return false;
  }
  const claim = { ...fire, retry, ownIdentities: new Set<string>() };
  return judgeClaim(claim, lease, undefined).state !== 'settled';
}
