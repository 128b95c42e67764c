/** The number of permits with which the holder of a record uses its semaphore, so that differing numbers are noticed. */
import type { Lease } from '../../kube/lease-store.js';

/** The permits of the semaphore, written by each holder of one of its Leases. */
const PERMITS = 'nestjs-k8s-lock/permits';

/** A13: the annotations of a new holder: those of the one before, with its own permits; none for a lock. */
export function withPermits(
  annotations: Record<string, string>,
  permits = 1,
): Record<string, string> {
  const { [PERMITS]: _before, ...others } = annotations;
  return permits === 1 ? others : { ...others, [PERMITS]: String(permits) };
}

/** The permits of the last holder, if it had a semaphore and the record says so. */
export function permitsOf({ metadata }: Lease): number | undefined {
  const written = metadata.annotations?.[PERMITS];
  return written !== undefined && /^[1-9]\d{0,2}$/.test(written)
    ? Number(written)
    : undefined;
}
