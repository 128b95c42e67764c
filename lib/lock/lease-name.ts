/** Names the Leases of locks and semaphores (DNS-1123 subdomains), for any lock name and without collisions. */
import { createHash } from 'node:crypto';

const LONGEST_NAME = 253;
const SUBDOMAIN =
  /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/**
 * The suffixes of an encoded name, and of the Leases of a semaphore. A legal name with such a suffix is encoded, too,
 * which avoids collisions.
 */
const RESERVED_SUFFIX = /--([0-9a-f]{32}|slot-\d+|line)$/;

/**
 * Returns a legal Lease name unchanged. Any other name becomes its readable part, `--` and 128 bits of
 * its SHA-256.
 */
export function encodeLockName(name: string): string {
  if (
    name.length <= LONGEST_NAME &&
    SUBDOMAIN.test(name) &&
    !RESERVED_SUFFIX.test(name)
  ) {
    return name;
  }
  const digest = digestOf(name);
  const readable = name
    .slice(0, LONGEST_NAME)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, LONGEST_NAME - digest.length - 2)
    .replace(/^-+|-+$/g, '');
  return readable === '' ? `lock--${digest}` : `${readable}--${digest}`;
}

/** A11: the Lease of one slot of a semaphore, by the Lease name of a lock of that name, which is slot 0. */
export function slotLeaseName(leaseName: string, slot: number): string {
  return slot === 0 ? leaseName : partName(leaseName, `slot-${slot}`);
}

/** The slot of a semaphore that a Lease of this name can be. */
export function slotOf(leaseName: string): number {
  return Number(/--slot-(\d+)$/.exec(leaseName)?.[1] ?? 0);
}

/** The Lease of the line of a semaphore. */
export function lineLeaseName(leaseName: string): string {
  return partName(leaseName, 'line');
}

/** Whether a Lease of this name can only be the line of a semaphore. */
export function isLine(leaseName: string): boolean {
  return leaseName.endsWith('--line');
}

function partName(leaseName: string, part: string): string {
  const name = `${leaseName}--${part}`;
  if (name.length <= LONGEST_NAME) {
    return name;
  }
  const suffix = `--${digestOf(leaseName)}--${part}`;
  const readable = leaseName.slice(0, LONGEST_NAME - suffix.length);
  return readable.replace(/[-.]+$/, '') + suffix;
}

/** UTF-16 distinguishes lone surrogates, which UTF-8 would all encode as U+FFFD. */
function digestOf(name: string): string {
  return createHash('sha256')
    .update(Buffer.from(name, 'utf16le'))
    .digest('hex')
    .slice(0, 32);
}
