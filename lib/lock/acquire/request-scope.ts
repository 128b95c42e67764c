/** For whom the running code asks for locks: somebody who may go away meanwhile, and who hears of what was refused. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { LockError } from '../../lock.errors.js';

/** Whoever waits for an answer of the running code. */
export interface Caller {
  /** Aborts when the caller goes away before the answer, with a {@link CallerGoneError}. */
  readonly gone: AbortSignal;
  /** The answer was given, or the caller is gone: what still runs goes on for nobody. */
  readonly isOver: boolean;
  /** A lock was refused: the answer may be this error. */
  refused(error: LockError): void;
}

/** Cancels a wait whose caller has gone away. Never reaches a user. */
export class CallerGoneError extends Error {
  constructor() {
    super('the caller has gone away');
  }
}

const callers = new AsyncLocalStorage<Caller>();

/** Runs `work` with `caller` as its {@link currentCaller}. */
export function runFor<T>(caller: Caller, work: () => T): T {
  return callers.run(caller, work);
}

/** Undefined for code that nobody waits for. */
export function currentCaller(): Caller | undefined {
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
