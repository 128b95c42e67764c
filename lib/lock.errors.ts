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

/**
 * The base of all errors of this package. It is an `HttpException`, so that a controller answers
 * sensibly without an exception filter. The HTTP body names the lock and never the holder: that is
 * for logs, in `message`.
 */
export abstract class LockError extends HttpException {
  /**
   * Whole seconds, 1 or more, after which it makes sense to try again; undefined when time does not
   * mend it. An HTTP answer with the status of the error carries it as `Retry-After`.
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
    options: { cause?: unknown } = {},
  ) {
    super(
      {
        statusCode: answer.status,
        error: new.target.name,
        message: answer.message,
        ...(answer.lock === undefined ? {} : { lock: answer.lock }),
      },
      answer.status,
      options,
    );
    this.message = message;
    this.retryAfter =
      answer.retryAfter === undefined
        ? undefined
        : Math.max(1, Math.ceil(answer.retryAfter / 1_000));
    // Its cause is that of the error, which would be printed twice.
    Object.defineProperty(this, 'options', { enumerable: false });
    Error.captureStackTrace(this, new.target);
  }
}

/**
 * Why a lock was not acquired: `timeout` = it stayed taken for all of `waitTimeout`; `held` = it is
 * taken and the caller did not want to wait; `shutdown` = the application is closing; `cancelled` = the
 * client of the HTTP request that waited for it has gone away.
 */
export type LockNotAcquiredReason =
  'timeout' | 'held' | 'shutdown' | 'cancelled';

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
}

/** The lock was not acquired and the work did not run. Answers 423 (Locked), or 503 when the application closes. */
export class LockNotAcquiredError extends LockError {
  readonly lock: LockReference;
  readonly reason: LockNotAcquiredReason;
  /** The holder identity in the record, if one was seen. */
  readonly holder?: string;
  /** Since when that holder has had it, by the holder's own clock. */
  readonly since?: Date;

  constructor(
    lock: LockReference,
    reason: LockNotAcquiredReason,
    details: NotAcquiredDetails = {},
  ) {
    super(notAcquiredMessage(lock, reason, details), {
      // Somebody else may be asked for what is not to be had here.
      status:
        reason === 'shutdown'
          ? HttpStatus.SERVICE_UNAVAILABLE
          : HttpStatus.LOCKED,
      message: NOT_ACQUIRED[reason],
      lock: printable(lock.name),
      retryAfter: details.retryInterval ?? RETRY_AFTER,
    });
    this.lock = lock;
    this.reason = reason;
    this.holder = details.holder;
    this.since = details.since;
  }
}

function notAcquiredMessage(
  lock: LockReference,
  reason: LockNotAcquiredReason,
  details: NotAcquiredDetails,
): string {
  if (reason === 'shutdown') {
    return `${describe(lock)} was not acquired: the application is shutting down and takes no new locks.`;
  }
  if (reason === 'cancelled') {
    return `${describe(lock)} was not acquired: the client of the HTTP request that waited for it has gone away.`;
  }
  const holder =
    details.holder === undefined
      ? 'another caller'
      : printable(details.holder) +
        (details.since ? ` (since ${details.since.toISOString()})` : '');
  return reason === 'timeout'
    ? `${describe(lock)} was not acquired within ${Math.round(details.waited ?? 0)} ms (waitTimeout): it is held by ${holder}. Wait longer, or look at the holder with LockService.inspect().`
    : `${describe(lock)} was not acquired: it is held by ${holder}. Use onLocked: 'wait' or LockService.acquire() to wait for it.`;
}

/**
 * Why a held lock was lost:
 * - `deadline`: no renewal got through in time, so the lock was given up before others may take it
 * - `taken`: the record names another holder
 * - `freed`: the record names no holder any more (somebody forced its release)
 * - `deleted`: the Lease was deleted (or deleted and created again)
 * - `max-hold`: it was held for all of `maxHold`
 * - `shutdown`: the application is closing
 * - `released`: its holder released it (only from `assertHeld()`)
 */
export type LockLossReason =
  | 'deadline'
  | 'taken'
  | 'freed'
  | 'deleted'
  | 'max-hold'
  | 'shutdown'
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

/** A held lock is held no more: the reason of its `signal`, and what `assertHeld()` throws. Answers 503. */
export class LockLostError extends LockError {
  readonly lock: LockReference;
  readonly reason: LockLossReason;

  constructor(lock: LockReference, reason: LockLossReason) {
    super(`${describe(lock)} was lost: ${LOSS[reason]}.`, {
      status: HttpStatus.SERVICE_UNAVAILABLE,
      message: 'The lock was lost before the work was done',
      lock: printable(lock.name),
      retryAfter: RETRY_AFTER,
    });
    this.lock = lock;
    this.reason = reason;
  }
}

/** Why the API server, or the Lease, could not be used. */
export type LockBackendReason =
  /** 409: the Lease has another resourceVersion or uid than the write named, or exists already. */
  | 'conflict'
  /** 404: the Lease of a write, or its namespace, is missing, or the address leads to no such API. */
  | 'not-found'
  /** 403: the credentials lack the right, or the namespace is being deleted. */
  | 'forbidden'
  /** 401: the credentials were refused, or could not be obtained. */
  | 'unauthorized'
  /** 400, 405, 413, 415 or 422: the API server calls the request wrong; sending it again won't help. */
  | 'invalid'
  /** 429: come again after `retryAfter`. */
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
      message: string;
      status?: number;
      /** Milliseconds that the API server wants to be left alone. */
      retryAfter?: number;
      cause?: unknown;
    },
  ) {
    super(
      lock === undefined
        ? details.message
        : `${describe(lock)}: ${details.message}`,
      {
        status: HttpStatus.SERVICE_UNAVAILABLE,
        message: 'The lock service is not available',
        lock: lock && printable(lock.name),
        retryAfter: FINAL_REASONS.includes(reason)
          ? undefined
          : (details.retryAfter ?? RETRY_AFTER),
      },
      { cause: details.cause },
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

  constructor(faults: readonly string[], options: { cause?: unknown } = {}) {
    super(
      faults.length === 1
        ? `nestjs-k8s-lock: ${faults[0]}`
        : `nestjs-k8s-lock: ${faults.length} faults in the configuration:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`,
      {
        status: HttpStatus.INTERNAL_SERVER_ERROR,
        message: 'The lock is not configured correctly',
      },
      options,
    );
    this.faults = faults;
  }
}

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
