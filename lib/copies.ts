/** Tells of several copies of this package in a process: decorators and LockService of one do not find the module of another. */
import { Logger } from '@nestjs/common';
import { dirname } from 'node:path';

/** Every copy, of whatever version, finds the list under this key. */
const COPIES = Symbol.for('nestjs-k8s-lock: copies');

/** Adds this copy to those of the process; warns if it is not the first. */
export function noteCopy(): void {
  // A bundle has no folder that says anything.
  const folder = typeof __dirname === 'string' ? dirname(__dirname) : undefined;
  const copies = findCopies();
  if (folder === undefined || copies.includes(folder)) {
    return;
  }
  Reflect.set(globalThis, COPIES, [...copies, folder]);
  if (hasOtherCopies()) {
    new Logger('K8sLockModule').warn(
      `nestjs-k8s-lock is loaded from more than one place, ${findCopies().join(' and ')}: the decorators, interceptors and LockService of one copy do not find the K8sLockModule of another, so that Nest can't resolve them. npm ls nestjs-k8s-lock shows what needs which; npm dedupe, or overrides in package.json, leave one`,
    );
  }
}

export function hasOtherCopies(): boolean {
  return findCopies().length > 1;
}

function findCopies(): readonly string[] {
  return Reflect.get(globalThis, COPIES) ?? [];
}
