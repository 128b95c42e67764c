/** The error classes of this package: reasons, HTTP status, and the frame of each message. */
import { isNativeError } from 'node:util/types';
import { HttpException, HttpStatus } from '@nestjs/common';
import { printable, quote } from './printable.js';

/** The lock that an error is about. */
export interface LockReference {
  /** The name that the caller used. */
  name: string;
  namespace: string;
  /** The name of the Lease object. */
  leaseName: string;
  /** The slot of a semaphore, from 0 to `permits - 1`. */
  slot?: number;
}

/** Default of `retryAfter`, in milliseconds. */
const RETRY_AFTER = 1_000;

const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/**
 * The base of all errors of this package. It is an `HttpException`, so that a controller answers with a
 * fitting status without an exception filter.
 *
 * The `message` may reach clients, since GraphQL, RPC and many filters pass it on: it names only the lock
 * and the reason. The `explanation`, which logs show, also has the holder, the Lease, the address of the
 * API server and the advice.
 */
export abstract class LockError extends HttpException {
  /** The message with all details and advice: for logs and operators, not for clients. */
  readonly explanation: string;
  /**
   * Whole seconds, at least 1, after which to try again; undefined if a retry cannot succeed. An HTTP answer
   * with the status of the error carries it as `Retry-After`.
   */
  readonly retryAfter: number | undefined;

  /** @param answer the HTTP answer; `retryAfter` in milliseconds */
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
    // `options.cause` is also `cause`, and would be printed twice.
    Object.defineProperty(this, 'options', { enumerable: false });
    Error.captureStackTrace(this, new.target);
  }

  /** The body of the HTTP answer, without details. */
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
  /** This process can't renew more locks in time, and the call does not wait, or `waitTimeout` is over. */
  | 'saturated'
  /** The client of the HTTP request that waited for the lock has gone away. */
  | 'cancelled';

/** The renewals of this process. */
export interface LockSaturation {
  /** The number of locks that this process renews. */
  locks: number;
  /** The renewals a second that they need: each one every `renewInterval`. */
  demand: number;
  /** The renewals a second that this process can do, by the time that the API server takes to answer. */
  capacity: number;
}

/** The messages of the HTTP answers. */
const NOT_ACQUIRED: Record<LockNotAcquiredReason, string> = {
  timeout: 'The lock is held by another request or process',
  held: 'The lock is held by another request or process',
  shutdown: 'The application is shutting down',
  saturated: 'This process holds as many locks as it can renew',
  cancelled: 'The client has gone away',
};

/** Details of a lock that was not acquired. */
export interface NotAcquiredDetails {
  /** The holder identity in the record, if one was seen. */
  holder?: string;
  /** Since when that holder has had it. */
  since?: Date;
  /** Milliseconds. */
  waited?: number;
  /** The lock's `retryInterval`, the default of `retryAfter`. */
  retryInterval?: number;
  /** Whether another call of this process holds the lock. */
  isOwnProcess?: boolean;
  /** Under `saturated`. */
  saturation?: LockSaturation;
  /** Of a semaphore, all of which are held. */
  permits?: number;
}

/** The lock was not acquired and the work did not run. Answers 423 (Locked), or 503 when this process takes no more locks. */
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
        // 503: another replica can serve the request.
        status:
          reason === 'shutdown' || reason === 'saturated'
            ? HttpStatus.SERVICE_UNAVAILABLE
            : HttpStatus.LOCKED,
        message: NOT_ACQUIRED[reason],
        lock: printable(lock.name),
        retryAfter: details.retryInterval ?? RETRY_AFTER,
      },
      {
        explanation: `${describe(lock)} was not acquired${whyNotAcquired(reason, holder, details)}${describeSaturation(details)}.${adviceOf(reason, details)}`,
      },
    );
    this.lock = lock;
    this.reason = reason;
    this.holder = details.holder;
    this.since = details.since;
    this.isOwnProcess = details.isOwnProcess ?? false;
  }
}

/** The end of the sentence. @param who the holder, if there is one */
function whyNotAcquired(
  reason: LockNotAcquiredReason,
  who: string,
  { waited = 0, permits }: NotAcquiredDetails,
): string {
  const taken =
    permits === undefined
      ? `it is held by ${who}`
      : `all of its ${permits} permits are held`;
  const reasons: Record<LockNotAcquiredReason, string> = {
    timeout: ` within ${Math.round(waited)} ms (waitTimeout): ${taken}`,
    held: `: ${taken}`,
    shutdown: ': the application is shutting down and takes no new locks',
    saturated: ': this process holds as many locks as it can renew',
    cancelled:
      ': the client of the HTTP request that waited for it has gone away',
  };
  return reasons[reason];
}

/** What to do so that a process can hold more locks. */
const SATURATION_ADVICE =
  "Hold fewer locks at a time, use a longer leaseDuration or renewInterval, or use renewal: 'session', which renews all of them at once.";

/** For the log. */
export function explainSaturation(
  lock: LockReference,
  now: LockSaturation,
): string {
  return `${describe(lock)} waits: this process holds as many locks as it can renew${describeSaturation({ saturation: now })}. ${SATURATION_ADVICE}`;
}

function describeSaturation({
  saturation,
}: Pick<NotAcquiredDetails, 'saturation'>): string {
  if (saturation === undefined) {
    return '';
  }
  const { locks, demand, capacity } = saturation;
  return ` (its ${locks} locks need ${demand.toFixed(1)} renewals a second; at the speed at which the API server answers now, ${capacity.toFixed(1)} are safe)`;
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
  { isOwnProcess, permits }: NotAcquiredDetails,
): string {
  if (reason === 'shutdown' || reason === 'cancelled') {
    return '';
  }
  if (reason === 'saturated') {
    return ` ${SATURATION_ADVICE}`;
  }
  if (isOwnProcess) {
    return ' If this call runs under that lock, it waits for itself: use withLock() or @WithLeaseLock() for both, which share a lock of their caller.';
  }
  if (reason === 'timeout' && permits !== undefined) {
    return ' Wait longer, allow more permits, or inspect the holders with LockService.semaphore().';
  }
  return reason === 'timeout'
    ? ' Wait longer, or inspect the holder with LockService.inspect().'
    : " Use onLocked: 'wait' or LockService.acquire() to wait for it.";
}

/** Why a held lock was lost. */
export type LockLossReason =
  /** No renewal succeeded in time; the lock was given up before others may take it. */
  | 'deadline'
  /** The record names another holder. */
  | 'taken'
  /** The record no longer names a holder: its release was forced. */
  | 'freed'
  /** The Lease was deleted, or deleted and created again. */
  | 'deleted'
  /** The lock was held for all of `maxHold`. */
  | 'max-hold'
  /** Under `renewal: 'session'`: the session of this process, under which all its locks are held, was ended or deleted. */
  | 'session'
  /** The application is closing. */
  | 'shutdown'
  /** The holder has released the lock (only from `assertHeld()`). */
  | 'released';

const LOSS: Record<LockLossReason, string> = {
  deadline:
    'no renewal reached the API server before the deadline, so the work must stop before another process may take it',
  taken: 'its Lease names another holder',
  freed: 'its Lease no longer names a holder: its release was forced',
  deleted: 'its Lease was deleted',
  'max-hold': 'it was held for all of maxHold',
  session:
    'the session of this process, under which its locks are held, was ended or deleted',
  shutdown: 'the application is shutting down',
  released: 'it was released',
};

const FIND_WRITER =
  ' Find out who changed the Lease: forceRelease(), kubectl, or a client that does not follow the rules.';

/** What to do about it, for the log. */
const LOSS_ADVICE: Record<LockLossReason, string> = {
  deadline:
    ' Check the connection to the API server and long synchronous work, or use a longer leaseDuration.',
  taken: FIND_WRITER,
  freed: FIND_WRITER,
  deleted: FIND_WRITER,
  'max-hold': ' Use a longer maxHold, or end the work sooner.',
  session: ' Find out why its renewals failed, or who changed its Lease.',
  shutdown: '',
  released: ' Call assertHeld() before release().',
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
      {
        explanation: `${describe(lock)} was lost: ${LOSS[reason]}.${LOSS_ADVICE[reason]}`,
      },
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

/** Reasons that a retry can't fix: the request or the rights are wrong. */
export const FINAL_REASONS: readonly LockBackendReason[] = [
  'not-found',
  'forbidden',
  'unauthorized',
  'invalid',
  'lease-missing',
  'lease-refused',
];

/** Client messages for a Lease that can't be used. */
const UNUSABLE: Partial<Record<LockBackendReason, string>> = {
  'lease-missing': 'its Lease does not exist, and createLease is false',
  'lease-refused': 'its Lease belongs to coordinated leader election',
};

/** The API server could not be reached or refused. Never carries a header, a token or a body. Answers 503. */
export class LockBackendError extends LockError {
  /** Undefined if the request was not about one lock. */
  readonly lock: LockReference | undefined;
  readonly reason: LockBackendReason;
  /** The HTTP status of the API server's answer, if one came. */
  readonly backendStatus?: number;

  constructor(
    lock: LockReference | undefined,
    reason: LockBackendReason,
    details: {
      /** The message for logs. */
      message: string;
      status?: number;
      /** Milliseconds to wait before a retry, as the API server asked. */
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
  /** One sentence per fault: the option, its value and the rule. */
  readonly faults: readonly string[];

  /** @param options `message`: the text for clients, if the faults contain files or addresses */
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

/** For clients. */
function nameLock(lock: LockReference): string {
  return `Lock ${quote(lock.name)}`;
}

/** For logs. */
function describe(lock: LockReference): string {
  return `Lock ${quote(lock.name)} (Lease ${lock.namespace}/${lock.leaseName})`;
}

/**
 * Whether a value is an Error of any realm. `instanceof` alone misses errors of Node.js under Jest, where
 * each test file has another Error class.
 */
export function isError(value: unknown): value is Error {
  return value instanceof Error || isNativeError(value);
}

/** The text to log for an error: its explanation, if it is from this package. */
export function explanationOf(error: unknown): string {
  if (error instanceof LockError) {
    return error.explanation;
  }
  return isError(error) ? error.message : String(error);
}
