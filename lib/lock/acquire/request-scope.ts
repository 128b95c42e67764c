/** For whom the running code asks for locks: somebody who may go away meanwhile, and who hears of what was refused. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { LockError } from '../../lock.errors.js';

/** Whoever waits for an answer of the running code. */
export interface RequestScope {
  /** Aborts when the caller goes away before the answer, with a {@link RequestAbortedError}. */
  readonly aborted: AbortSignal;
  /** The answer was given, or the caller is gone: what still runs goes on for nobody. */
  readonly isOver: boolean;
  /** A lock was refused: the answer may be this error. */
  refused(error: LockError): void;
}

/** Cancels a wait whose caller has gone away. Never reaches a user. */
export class RequestAbortedError extends Error {
  constructor() {
    super('the caller has gone away');
  }
}

const callers = new AsyncLocalStorage<RequestScope>();

/** Runs `work` with `caller` as its {@link currentRequestScope}. */
export function runInScope<T>(caller: RequestScope, work: () => T): T {
  return callers.run(caller, work);
}

/** Undefined for code that nobody waits for. */
export function currentRequestScope(): RequestScope | undefined {
  const caller = callers.getStore();
  // Timers and other work that was begun for a caller may go on for long after that one.
  return caller?.isOver ? undefined : caller;
}

const labels = new AsyncLocalStorage<string>();

/** Runs `work` with `label` as what its events say of where they happen. */
export function runLabelled<T>(label: string, work: () => T): T {
  return labels.run(label, work);
}

/** `Class.method` of the decorated method in whose call the running code is. */
export function currentLabel(): string | undefined {
  return labels.getStore();
}
