/** Encodes any lock name as the name of a Lease (a DNS-1123 subdomain) without collisions. */
import { createHash } from 'node:crypto';

const LONGEST_NAME = 253;
const SUBDOMAIN =
  /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** The suffix of an encoded name. A legal name with this suffix is encoded, too, which avoids collisions. */
const DIGEST_SUFFIX = /--[0-9a-f]{32}$/;

/**
 * Returns a legal Lease name unchanged. Any other name becomes its readable part, `--` and 128 bits of
 * its SHA-256.
 */
export function encodeLockName(name: string): string {
  if (
    name.length <= LONGEST_NAME &&
    SUBDOMAIN.test(name) &&
    !DIGEST_SUFFIX.test(name)
  ) {
    return name;
  }
  // UTF-16 distinguishes lone surrogates, which UTF-8 would all encode as U+FFFD.
  const digest = createHash('sha256')
    .update(Buffer.from(name, 'utf16le'))
    .digest('hex')
    .slice(0, 32);
  const readable = name
    .slice(0, LONGEST_NAME)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, LONGEST_NAME - digest.length - 2)
    .replace(/^-+|-+$/g, '');
  return readable === '' ? `lock--${digest}` : `${readable}--${digest}`;
}
