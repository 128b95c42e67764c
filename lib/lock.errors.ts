/** The errors of this package, and the only place where their messages are made. */
import { isNativeError } from 'node:util/types';
import { HttpException, HttpStatus } from '@nestjs/common';

/** Which lock an error is about. */
export interface LockReference {
  /** The name that the caller used. */
  name: string;
  namespace: string;
  /** The name of the Lease object. */
  leaseName: string;
}

/** Milliseconds after which to ask again, where nothing else is known. */
const RETRY_AFTER = 1_000;

const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/**
 * The base of all errors of this package. It is an `HttpException`, so that a controller answers sensibly
 * without an exception filter.
 *
 * Its `message` may reach strangers: GraphQL, RPC and many filters pass it on. It names the lock and the
 * reason. `explanation`, which logs show, also has the holder, the Lease, the address of the API server and
 * the advice.
 */
export abstract class LockError extends HttpException {
  /** Everything that is known, and what to do: for logs and operators, not for strangers. */
  readonly explanation: string;
  /**
   * Whole seconds, at least 1, after which to try again; undefined when time does not mend the fault. An HTTP
   * answer with the status of the error carries it as `Retry-After`.
   */
  readonly retryAfter: number | undefined;

  /** @param answer what a client is told; `retryAfter` in milliseconds */
  constructor(
    message: string,
    answer: {
      status: HttpStatus;
      message: string;
      lock?: string;
      retryAfter?: number;
    },
    options: { cause?: unknown; explanation?: string } = {},
  ) {
    super(
      {
        statusCode: answer.status,
        error: new.target.name,
        message: answer.message,
        ...(answer.lock === undefined ? {} : { lock: answer.lock }),
      },
      answer.status,
      { cause: options.cause },
    );
    this.message = message;
    this.explanation = options.explanation ?? message;
    this.retryAfter =
      answer.retryAfter === undefined
        ? undefined
        : Math.max(1, Math.ceil(answer.retryAfter / 1_000));
    // Its cause is that of the error, which would be printed twice.
    Object.defineProperty(this, 'options', { enumerable: false });
    Error.captureStackTrace(this, new.target);
  }

  /** The body of the HTTP answer: what a stranger may know. */
  toJSON(): unknown {
    return this.getResponse();
  }

  /** In logs: one line, without a stack. */
  [INSPECT](): string {
    const { cause } = this;
    const isToldAlready =
      !(cause instanceof Error) || this.explanation.includes(cause.message);
    return `${this.name}: ${this.explanation}${isToldAlready ? '' : ` [cause: ${String(cause)}]`}`;
  }
}

/** Why a lock was not acquired. */
export type LockNotAcquiredReason =
  /** The lock stayed taken for all of `waitTimeout`. */
  | 'timeout'
  /** The lock is taken, and the call does not wait. */
  | 'held'
  /** The application is closing. */
  | 'shutdown'
  /** The client of the HTTP request that waited for the lock has gone away. */
  | 'cancelled';

/** What an HTTP client is told. */
const NOT_ACQUIRED: Record<LockNotAcquiredReason, string> = {
  timeout: 'The lock is held by another request or process',
  held: 'The lock is held by another request or process',
  shutdown: 'The application is shutting down',
  cancelled: 'The client has gone away',
};

/** What is known of a lock that was not acquired. */
export interface NotAcquiredDetails {
  /** The holder identity in the record, if one was seen. */
  holder?: string;
  /** Since when that holder has had it. */
  since?: Date;
  /** Milliseconds. */
  waited?: number;
  /** That of the lock: after so many milliseconds it makes sense to ask for it again. */
  retryInterval?: number;
  /** Whether another call of this process holds the lock. */
  isOwnProcess?: boolean;
}

/** The lock was not acquired and the work did not run. Answers 423 (Locked), or 503 when the application closes. */
export class LockNotAcquiredError extends LockError {
  readonly lock: LockReference;
  readonly reason: LockNotAcquiredReason;
  /** The holder identity in the record, if one was seen. */
  readonly holder?: string;
  /** Since when that holder has had it, by the holder's own clock. */
  readonly since?: Date;
  /** Whether the holder is another call of this process. */
  readonly isOwnProcess: boolean;

  constructor(
    lock: LockReference,
    reason: LockNotAcquiredReason,
    details: NotAcquiredDetails = {},
  ) {
    const stranger = details.isOwnProcess
      ? 'another call of this process'
      : 'another request or process';
    const holder = describeHolder(details);
    super(
      `${nameLock(lock)} was not acquired${whyNotAcquired(reason, stranger, details)}.`,
      {
        // Somebody else may be asked for what is not to be had here.
        status:
          reason === 'shutdown'
            ? HttpStatus.SERVICE_UNAVAILABLE
            : HttpStatus.LOCKED,
        message: NOT_ACQUIRED[reason],
        lock: printable(lock.name),
        retryAfter: details.retryInterval ?? RETRY_AFTER,
      },
      {
        explanation: `${describe(lock)} was not acquired${whyNotAcquired(reason, holder, details)}.${adviceOf(reason, details)}`,
      },
    );
    this.lock = lock;
    this.reason = reason;
    this.holder = details.holder;
    this.since = details.since;
    this.isOwnProcess = details.isOwnProcess ?? false;
  }
}

/** The end of the sentence. @param who holds it, where somebody does */
function whyNotAcquired(
  reason: LockNotAcquiredReason,
  who: string,
  { waited = 0 }: NotAcquiredDetails,
): string {
  const reasons: Record<LockNotAcquiredReason, string> = {
    timeout: ` within ${Math.round(waited)} ms (waitTimeout): it is held by ${who}`,
    held: `: it is held by ${who}`,
    shutdown: ': the application is shutting down and takes no new locks',
    cancelled:
      ': the client of the HTTP request that waited for it has gone away',
  };
  return reasons[reason];
}

function describeHolder({
  holder,
  since,
  isOwnProcess,
}: NotAcquiredDetails): string {
  if (holder === undefined) {
    return isOwnProcess ? 'another call of this process' : 'another caller';
  }
  const who = `${printable(holder)}${since ? ` (since ${since.toISOString()})` : ''}`;
  return isOwnProcess ? `another call of this process, ${who}` : who;
}

function adviceOf(
  reason: LockNotAcquiredReason,
  { isOwnProcess }: NotAcquiredDetails,
): string {
  if (reason === 'shutdown' || reason === 'cancelled') {
    return '';
  }
  if (isOwnProcess) {
    return ' If that is who makes this call, it waits for itself: use withLock() or a method under @WithLeaseLock() for both, which run on under a lock that their caller holds.';
  }
  return reason === 'timeout'
    ? ' Wait longer, or look at the holder with LockService.inspect().'
    : " Use onLocked: 'wait' or LockService.acquire() to wait for it.";
}

/** Why a held lock was lost. */
export type LockLossReason =
  /** No renewal got through in time; the lock was given up before others may take it. */
  | 'deadline'
  /** The record names another holder. */
  | 'taken'
  /** The record names no holder any more: somebody forced its release. */
  | 'freed'
  /** The Lease was deleted, or deleted and created again. */
  | 'deleted'
  /** The lock was held for all of `maxHold`. */
  | 'max-hold'
  /** The application is closing. */
  | 'shutdown'
  /** The holder has released the lock (only from `assertHeld()`). */
  | 'released';

const LOSS: Record<LockLossReason, string> = {
  deadline:
    'no renewal reached the API server before the deadline, so the work must stop before another process may take it',
  taken: 'its Lease names another holder',
  freed: 'its Lease names no holder any more: its release was forced',
  deleted: 'its Lease was deleted',
  'max-hold': 'it was held for all of maxHold',
  shutdown: 'the application is shutting down',
  released: 'it was released',
};

/** A lock is no longer held: the reason of its `signal`, and the error of `assertHeld()`. Answers 503. */
export class LockLostError extends LockError {
  readonly lock: LockReference;
  readonly reason: LockLossReason;

  constructor(lock: LockReference, reason: LockLossReason) {
    super(
      `${nameLock(lock)} was lost: ${LOSS[reason]}.`,
      {
        status: HttpStatus.SERVICE_UNAVAILABLE,
        message: 'The lock was lost before the work was done',
        lock: printable(lock.name),
        retryAfter: RETRY_AFTER,
      },
      { explanation: `${describe(lock)} was lost: ${LOSS[reason]}.` },
    );
    this.lock = lock;
    this.reason = reason;
  }
}

/** Why the API server, or the Lease, could not be used. */
export type LockBackendReason =
  /** 409: the Lease has another resourceVersion or uid than the write names, or exists already. */
  | 'conflict'
  /** 404: the Lease of a write, or its namespace, is missing, or the address leads to no such API. */
  | 'not-found'
  /** 403: the credentials lack the right, or the namespace is being deleted. */
  | 'forbidden'
  /** 401: the credentials were refused, or could not be obtained. */
  | 'unauthorized'
  /** 400, 405, 413, 415 or 422: the API server rejects the request; retrying won't help. */
  | 'invalid'
  /** 429: retry after `retryAfter`. */
  | 'throttled'
  /** 5xx, or an answer that can't be read. */
  | 'server'
  /** No answer within the time-out. */
  | 'timeout'
  /** No connection, or it broke. */
  | 'network'
  /** The caller's signal was aborted. */
  | 'aborted'
  /** The Lease does not exist, and `createLease` is off. */
  | 'lease-missing'
  /** The Lease belongs to coordinated leader election. */
  | 'lease-refused';

/** What time does not mend: the request itself, or the rights, are wrong. */
export const FINAL_REASONS: readonly LockBackendReason[] = [
  'not-found',
  'forbidden',
  'unauthorized',
  'invalid',
  'lease-missing',
  'lease-refused',
];

/** What a stranger is told of a Lease that can't be used. */
const UNUSABLE: Partial<Record<LockBackendReason, string>> = {
  'lease-missing': 'its Lease does not exist, and createLease is false',
  'lease-refused': 'its Lease belongs to coordinated leader election',
};

/** The API server could not be reached or refused. Never carries a header, a token or a body. Answers 503. */
export class LockBackendError extends LockError {
  /** Undefined when the request was not about one lock. */
  readonly lock: LockReference | undefined;
  readonly reason: LockBackendReason;
  /** The HTTP status of the API server's answer, if one came. */
  readonly backendStatus?: number;

  constructor(
    lock: LockReference | undefined,
    reason: LockBackendReason,
    details: {
      /** What happened, for logs. */
      message: string;
      status?: number;
      /** Milliseconds that the API server wants to be left alone. */
      retryAfter?: number;
      cause?: unknown;
    },
  ) {
    const fault =
      UNUSABLE[reason] ?? `the lock service is not available (${reason})`;
    super(
      `${lock === undefined ? 'Locks' : nameLock(lock)}: ${fault}.`,
      {
        status: HttpStatus.SERVICE_UNAVAILABLE,
        message: 'The lock service is not available',
        lock: lock && printable(lock.name),
        retryAfter: FINAL_REASONS.includes(reason)
          ? undefined
          : (details.retryAfter ?? RETRY_AFTER),
      },
      {
        cause: details.cause,
        explanation:
          lock === undefined
            ? details.message
            : `${describe(lock)}: ${details.message}`,
      },
    );
    this.lock = lock;
    this.reason = reason;
    this.backendStatus = details.status;
  }
}

/** The configuration or the use of a decorator is wrong. Names every fault at once. Answers 500. */
export class LockConfigurationError extends LockError {
  /** One sentence a fault: the option, its value and the rule. */
  readonly faults: readonly string[];

  /** @param options `message`: what strangers may know, where the faults tell of files and addresses */
  constructor(
    faults: readonly string[],
    options: { cause?: unknown; message?: string } = {},
  ) {
    const explanation =
      faults.length === 1
        ? `nestjs-k8s-lock: ${faults[0]}`
        : `nestjs-k8s-lock: ${faults.length} faults in the configuration:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`;
    super(
      options.message === undefined
        ? explanation
        : `nestjs-k8s-lock: ${options.message}`,
      {
        status: HttpStatus.INTERNAL_SERVER_ERROR,
        message: 'The lock is not configured correctly',
      },
      { cause: options.cause, explanation },
    );
    this.faults = faults;
  }
}

/** For strangers. */
function nameLock(lock: LockReference): string {
  return `Lock ${quote(lock.name)}`;
}

/** For logs. */
function describe(lock: LockReference): string {
  const lease = `${lock.namespace}/${lock.leaseName}`;
  return lock.name === lock.leaseName
    ? `Lock ${quote(lock.name)} (Lease ${lease})`
    : `Lock ${quote(lock.name)} (as Lease ${lease})`;
}

/**
 * Whether a value is an Error of any realm: Jest gives each test file an Error class other than that of
 * Node.js, so `instanceof` alone misses what Node.js throws.
 */
export function isError(value: unknown): value is Error {
  return value instanceof Error || isNativeError(value);
}

const LONGEST_QUOTE = 256;

/** A string from outside, safe to stand in one line of a log. */
export function quote(text: string): string {
  return JSON.stringify(printable(text));
}

/** Cut to a sensible length, control and format characters replaced. */
export function printable(text: string): string {
  const cut =
    text.length > LONGEST_QUOTE ? `${text.slice(0, LONGEST_QUOTE)}…` : text;
  return cut.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '�');
}
