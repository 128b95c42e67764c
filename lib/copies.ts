/** Warns of several copies of this package in one process: the decorators of one copy do not find the module of another. */
import { Logger } from '@nestjs/common';
import { dirname } from 'node:path';

/** The key of the list, which is the same for every version. */
const COPIES = Symbol.for('nestjs-k8s-lock: copies');

/** Adds this copy to those of the process; warns if it is not the first. */
export function noteCopy(): void {
  // The folder of a bundle identifies no copy.
  const folder = typeof __dirname === 'string' ? dirname(__dirname) : undefined;
  const copies = findCopies();
  if (folder === undefined || copies.includes(folder)) {
    return;
  }
  Reflect.set(globalThis, COPIES, [...copies, folder]);
  if (hasOtherCopies()) {
    new Logger('K8sLockModule').warn(
      `nestjs-k8s-lock is loaded from more than one place, ${findCopies().join(' and ')}: the decorators, interceptors and LockService of one copy do not find the K8sLockModule of another, so Nest can't resolve them. Find the copies with npm ls nestjs-k8s-lock, and keep one with npm dedupe or overrides in package.json`,
    );
  }
}

export function hasOtherCopies(): boolean {
  return findCopies().length > 1;
}

function findCopies(): readonly string[] {
  return Reflect.get(globalThis, COPIES) ?? [];
}
