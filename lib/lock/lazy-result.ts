/** Finds results of work under a lock whose own work would run after the release. */
import { LockConfigurationError } from '../lock.errors.js';

/**
 * A generator compiled for an old target, or by Babel, has no tag, but the methods of one. Iterators of
 * collections and cursors of databases have no `throw()`.
 */
export function isGenerator(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) {
    return false;
  }
  const methods = [
    'next',
    'return',
    'throw',
    Symbol.asyncIterator in value ? Symbol.asyncIterator : Symbol.iterator,
  ];
  return methods.every((key) => typeof Reflect.get(value, key) === 'function');
}

/**
 * @param subject what returned it
 * @param kind with its article
 * @throws LockConfigurationError
 */
export function refuseLazyResult(
  subject: string,
  kind: string,
  advice: string,
): never {
  throw new LockConfigurationError([
    `${subject} returned ${kind}, whose work would run after the lock has been released: ${advice}`,
  ]);
}
