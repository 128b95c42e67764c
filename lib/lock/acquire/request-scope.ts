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

/** One call of a decorated method, or of a handler behind an interceptor, under all of its locks. */
export interface MethodCall {
  /** `Class.method`. */
  readonly label: string;
  /** Whether the method itself has begun, below all of its decorators and interceptors. */
  hasBegun: boolean;
  /** By the holder identity of a lock, which of the decorators and interceptors tells of the end of the call. */
  readonly tellers: Map<string, object>;
}

const calls = new AsyncLocalStorage<MethodCall>();

/** Runs `work` as a call of the method that its events name: a decorator below another, or below an interceptor, joins the call of that one. */
export function runInCall<T>(label: string, work: (call: MethodCall) => T): T {
  const outer = calls.getStore();
  if (outer?.label === label && !outer.hasBegun) {
    return work(outer);
  }
  const call = { label, hasBegun: false, tellers: new Map<string, object>() };
  return calls.run(call, work, call);
}

/** The call of a decorated method, or of a handler behind an interceptor, in which the running code is. */
export function currentCall(): MethodCall | undefined {
  return calls.getStore();
}
