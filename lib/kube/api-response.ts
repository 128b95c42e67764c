/** Reads what the API server answers, and trusts none of it: a field of the wrong type is an error here, not a crash later. */
import type { IncomingHttpHeaders } from 'node:http';
import type { StoredLease } from './lease-store.js';

/** What is used of a `Status`, the object with which the API server explains a failure. */
export interface ApiStatus {
  /** A word such as `NotFound`; undefined where it is anything but a word. */
  readonly reason?: string;
  readonly code?: number;
  /** The resource that the failure is about, such as `leases`. */
  readonly kind?: string;
  readonly causes: readonly string[];
  readonly retryAfterSeconds?: number;
  /** Whether the API server says that the user may not do this: a right is missing. */
  readonly isMissingRight?: boolean;
  /** Whether the answer was not read, so that it is not known what it says. */
  readonly isUnread?: boolean;
  /** What else it says against the request: the words of a quota, of a policy or of an admission webhook. */
  readonly objection?: string;
}

/** An answer that can't be read, and what is wrong with it. */
export class UnreadableAnswer extends Error {
  override readonly name = 'UnreadableAnswer';
}

type Fields = Record<string, unknown>;

/** Longer than this no server is left alone, whatever it asks for. */
const MAX_RETRY_AFTER = 60_000;
const WORD = /^[A-Za-z]{1,64}$/;

/** Parses JSON; throws {@link UnreadableAnswer}, which (unlike the parser's error) quotes nothing. */
export function parseObject(body: string | undefined): Fields {
  if (body === undefined) {
    throw new UnreadableAnswer('it is too long');
  }
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new UnreadableAnswer('it is not JSON');
  }
  if (!isFields(value)) {
    throw new UnreadableAnswer('it is not an object');
  }
  return value;
}

/** Checks that a value is a Lease as the API server stores it, and that it is the one asked for. */
export function toStoredLease(
  value: unknown,
  key: { namespace: string; name?: string },
): StoredLease {
  checkLease(value, key);
  return value;
}

function checkLease(
  value: unknown,
  key: { namespace: string; name?: string },
): asserts value is StoredLease {
  const lease = fieldsOf(value, 'the Lease');
  const metadata = fieldsOf(lease.metadata, 'metadata');
  for (const field of ['name', 'uid', 'resourceVersion']) {
    if (typeof metadata[field] !== 'string' || metadata[field] === '') {
      throw new UnreadableAnswer(`metadata.${field} is not a string`);
    }
  }
  // The fencing token is made of it.
  if (!/^\d{1,64}$/.test(String(metadata.resourceVersion))) {
    throw new UnreadableAnswer('metadata.resourceVersion is not a number');
  }
  if (
    (key.name !== undefined && metadata.name !== key.name) ||
    (metadata.namespace !== undefined && metadata.namespace !== key.namespace)
  ) {
    throw new UnreadableAnswer('it is about another object');
  }
  for (const field of ['annotations', 'labels']) {
    const entries = metadata[field];
    if (entries === undefined || entries === null) {
      continue;
    }
    const values = Object.values(fieldsOf(entries, `metadata.${field}`));
    if (!values.every((entry) => typeof entry === 'string')) {
      throw new UnreadableAnswer(`metadata.${field} has other than strings`);
    }
  }
  checkSpec(lease.spec);
}

/** A page of a list of Leases: its items, the version of the whole, and where it goes on if it does. */
export function toLeaseList(
  value: unknown,
  namespace: string,
): {
  leases: StoredLease[];
  resourceVersion: string;
  continuation: string | undefined;
} {
  const list = fieldsOf(value, 'the list');
  const metadata = fieldsOf(list.metadata, 'metadata');
  const { resourceVersion } = metadata;
  if (typeof resourceVersion !== 'string') {
    throw new UnreadableAnswer('metadata.resourceVersion is not a string');
  }
  // A Go server writes an empty list as null too.
  const items = list.items ?? [];
  if (!Array.isArray(items)) {
    throw new UnreadableAnswer('items is not a list');
  }
  const leases = items.map((item) => toStoredLease(item, { namespace }));
  return { leases, resourceVersion, continuation: tokenIn(metadata) };
}

/** Where a list goes on whose version is gone, if the API server says so in its refusal. */
export function continuationOf(body: string | undefined): string | undefined {
  try {
    return tokenIn(fieldsOf(parseObject(body).metadata, 'metadata'));
  } catch (error) {
    if (error instanceof UnreadableAnswer) {
      return undefined;
    }
    throw error;
  }
}

function tokenIn({ continue: token }: Fields): string | undefined {
  return typeof token === 'string' && token !== '' ? token : undefined;
}

/** Reads a Status; of anything else, nothing. */
export function toStatus(value: unknown): ApiStatus {
  if (!isFields(value) || value.kind !== 'Status') {
    return { causes: [] };
  }
  const details = isFields(value.details) ? value.details : {};
  const causes = Array.isArray(details.causes) ? details.causes : [];
  return {
    reason: wordOf(value.reason),
    code: numberOf(value.code),
    kind: wordOf(details.kind),
    causes: causes
      .map((cause) => (isFields(cause) ? wordOf(cause.reason) : undefined))
      .filter((reason) => reason !== undefined),
    retryAfterSeconds: numberOf(details.retryAfterSeconds),
    ...readMessage(value.message),
  };
}

const MISSING_RIGHT = /\bforbidden: User ".*" cannot \w+ (resource|path) "/s;
const OBJECTION =
  /(?: is forbidden: |^(?=admission webhook ".*?" denied the request))(.+)/s;
/** Characters of an objection that are passed on. */
const LONGEST_OBJECTION = 300;

/**
 * Only what has the form of the API server's own sentences, in one line: whatever stands between may
 * answer with anything, such as the credentials that it was sent.
 */
function readMessage(
  message: unknown,
): Pick<ApiStatus, 'isMissingRight' | 'objection'> {
  if (typeof message !== 'string') {
    return {};
  }
  if (MISSING_RIGHT.test(message)) {
    return { isMissingRight: true };
  }
  const objection = OBJECTION.exec(message)?.[1]
    ?.slice(0, LONGEST_OBJECTION)
    .replaceAll(/[^\x20-\x7e]/g, '?');
  return objection === undefined ? {} : { objection };
}

/** Reads a Status from the body of an answer, which may be anything. */
export function statusOf(body: string | undefined): ApiStatus {
  try {
    return toStatus(parseObject(body));
  } catch {
    return { causes: [] };
  }
}

/** Milliseconds from Retry-After (seconds or a date), else from the Status. */
export function retryAfterOf(
  headers: IncomingHttpHeaders,
  status: ApiStatus,
): number | undefined {
  const header = headers['retry-after']?.trim();
  let milliseconds = NaN;
  if (header && /^\d+$/.test(header)) {
    milliseconds = Number(header) * 1000;
  } else if (header?.endsWith('GMT')) {
    // Counted from the server's own clock where it tells: this one's may be wrong.
    const now = Date.parse(headers.date ?? '');
    milliseconds = Date.parse(header) - (Number.isNaN(now) ? Date.now() : now);
  } else if (status.retryAfterSeconds) {
    milliseconds = status.retryAfterSeconds * 1000;
  }
  if (Number.isNaN(milliseconds)) {
    return undefined;
  }
  return Math.min(Math.max(milliseconds, 0), MAX_RETRY_AFTER);
}

/** Whether a 404 says that the Lease is missing, rather than the API under this address. */
export function isMissingLease(status: ApiStatus): boolean {
  return status.reason === 'NotFound' && status.kind === 'leases';
}

/** Whether a 403 says that nothing can be created in the namespace any more, rather than by whom. */
export function isNamespaceTerminating(status: ApiStatus): boolean {
  return status.causes.includes('NamespaceTerminating');
}

function checkSpec(value: unknown): void {
  if (value === undefined || value === null) {
    return;
  }
  const spec = fieldsOf(value, 'spec');
  for (const field of [
    'holderIdentity',
    'acquireTime',
    'renewTime',
    'strategy',
  ]) {
    if (!isNullOr(spec[field], 'string')) {
      throw new UnreadableAnswer(`spec.${field} is not a string`);
    }
  }
  for (const field of ['leaseDurationSeconds', 'leaseTransitions']) {
    if (!isNullOr(spec[field], 'number') || !isWhole(spec[field])) {
      throw new UnreadableAnswer(`spec.${field} is not a whole number`);
    }
  }
}

function isNullOr(value: unknown, type: 'string' | 'number'): boolean {
  return value === undefined || value === null || typeof value === type;
}

function isWhole(value: unknown): boolean {
  return typeof value !== 'number' || Number.isSafeInteger(value);
}

function fieldsOf(value: unknown, name: string): Fields {
  if (!isFields(value)) {
    throw new UnreadableAnswer(`${name} is not an object`);
  }
  return value;
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wordOf(value: unknown): string | undefined {
  return typeof value === 'string' && WORD.test(value) ? value : undefined;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}
