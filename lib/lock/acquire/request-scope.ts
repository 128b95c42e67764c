/** The request on whose behalf code runs, and its cancellation signal. */
import { AsyncLocalStorage } from 'node:async_hooks';

/** The request that waits for an answer of the running code. */
export interface RequestScope {
  /** Aborts with a {@link RequestAbortedError} when the client goes away before the answer. */
  readonly aborted: AbortSignal;
  /** Whether the answer was given, or the client is gone; code that still runs is no longer part of the request. */
  readonly isOver: boolean;
}

/** Cancels a wait whose client has gone away. Never reaches a user. */
export class RequestAbortedError extends Error {
  constructor() {
    super('the client has gone away');
  }
}

const callers = new AsyncLocalStorage<RequestScope>();

/** Runs `work` with `caller` as its {@link currentRequestScope}. */
export function runInScope<T>(caller: RequestScope, work: () => T): T {
  return callers.run(caller, work);
}

/** Undefined for code outside of a request. */
export function currentRequestScope(): RequestScope | undefined {
  const caller = callers.getStore();
  // Timers and other work may outlive the request in whose context they were started.
  return caller?.isOver ? undefined : caller;
}

/** One call of a decorated method, or of a handler under an interceptor, with all its locks. */
export interface MethodCall {
  /** `Class.method`. */
  readonly label: string;
  /** Whether the method itself has begun, below all of its decorators and interceptors. */
  hasBegun: boolean;
  /** The decorator or interceptor that reports the end of the call, by the holder identity of a lock. */
  readonly reporters: Map<string, object>;
}

const calls = new AsyncLocalStorage<MethodCall>();

/** Runs `work` as a call of the method that its events name. A decorator below another one, or below an interceptor, joins the outer call. */
export function runInCall<T>(label: string, work: (call: MethodCall) => T): T {
  const outer = calls.getStore();
  if (outer?.label === label && !outer.hasBegun) {
    return work(outer);
  }
  const call = { label, hasBegun: false, reporters: new Map<string, object>() };
  return calls.run(call, work, call);
}

/** The call of a decorated method, or of a handler under an interceptor, that leads to the running code. */
export function currentCall(): MethodCall | undefined {
  return calls.getStore();
}
