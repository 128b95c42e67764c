/** Reads and validates the API server's answers: a field of the wrong type is an error here, not a crash later. */
import type { IncomingHttpHeaders } from 'node:http';
import type { StoredLease } from './lease-store.js';

/** The used fields of a `Status`, the object with which the API server explains a failure. */
export interface ApiStatus {
  /** A word such as `NotFound`; undefined if it is not a single word. */
  readonly reason?: string;
  readonly code?: number;
  /** The resource that the failure is about, such as `leases`. */
  readonly kind?: string;
  readonly causes: readonly {
    readonly reason?: string;
    readonly field?: string;
  }[];
  readonly retryAfterSeconds?: number;
  /** Whether the API server names a missing right. */
  readonly isMissingRight?: boolean;
  /** Whether the body could not be read. */
  readonly isUnread?: boolean;
  /** Another objection to the request: the message of a quota, a policy or an admission webhook. */
  readonly objection?: string;
}

/** An answer can't be read; the message says why. */
export class UnreadableAnswer extends Error {
  override readonly name = 'UnreadableAnswer';
}

type Fields = Record<string, unknown>;

/** Upper limit of the time that a server's Retry-After can ask for, in milliseconds. */
const MAX_RETRY_AFTER = 60_000;
const WORD = /^[A-Za-z]{1,64}$/;

/** Parses JSON; throws {@link UnreadableAnswer}, which (unlike the parser's error) quotes nothing of the body. */
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

/** Checks that a value is a stored Lease with this namespace and, if a name is given, this name. */
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
  // The fencing token is this number.
  if (!/^\d{1,64}$/.test(String(metadata.resourceVersion))) {
    throw new UnreadableAnswer('metadata.resourceVersion is not a number');
  }
  if (
    (key.name !== undefined && metadata.name !== key.name) ||
    (metadata.namespace !== undefined &&
      key.namespace !== '' &&
      metadata.namespace !== key.namespace)
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
      throw new UnreadableAnswer(
        `a value of metadata.${field} is not a string`,
      );
    }
  }
  checkSpec(lease.spec);
}

/** Reads one page of a list of Leases: its items, the resourceVersion of the list, and the continue token if there is one. */
export function toLeaseList(
  value: unknown,
  { namespace }: { namespace: string },
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
  // A Go server may write an empty list as null.
  const items = list.items ?? [];
  if (!Array.isArray(items)) {
    throw new UnreadableAnswer('items is not a list');
  }
  const leases = items.map((item) => toStoredLease(item, { namespace }));
  return { leases, resourceVersion, continuation: tokenIn(metadata) };
}

/** The continue token in a 410 answer, with which a list can go on after its resourceVersion has expired. */
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

/** The resourceVersion of an object or of a list; undefined if it has none. */
export function versionOf(object: unknown): string | undefined {
  return metadataTextOf(object, 'resourceVersion');
}

/** The name of an object; undefined if it has none. */
export function nameOf(object: unknown): string | undefined {
  return metadataTextOf(object, 'name');
}

function metadataTextOf(object: unknown, field: string): string | undefined {
  const { metadata } = isFields(object) ? object : {};
  const value = isFields(metadata) ? metadata[field] : undefined;
  return typeof value === 'string' ? value : undefined;
}

/** Reads a Status; the result is empty if the value is not one. */
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
    causes: causes.filter(isFields).map(({ reason, field }) => ({
      reason: wordOf(reason),
      field: typeof field === 'string' ? field : undefined,
    })),
    retryAfterSeconds: numberOf(details.retryAfterSeconds),
    ...readMessage(value.message),
  };
}

const MISSING_RIGHT = /\bforbidden: User ".*" cannot \w+ (resource|path) "/s;
const OBJECTION =
  /(?: is forbidden: |^(?=admission webhook ".*?" denied the request))(.+)/s;
/** The longest objection that is passed on, in characters. */
const LONGEST_OBJECTION = 300;

/**
 * The message of a Status on one line, if it has the form of the API server's sentences. A proxy may
 * answer with arbitrary text, such as the credentials that it received.
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

/** Reads a Status from the body of an answer, which may be arbitrary text. */
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
    // Relative to the server's Date header if there is one: the local clock may be wrong.
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

/** Whether a 404 means that the Lease is missing, not the API at this address. */
export function isMissingLease(status: ApiStatus): boolean {
  return status.reason === 'NotFound' && status.kind === 'leases';
}

/** Whether a 403 means that the namespace is terminating, not that a right is missing. */
export function isNamespaceTerminating(status: ApiStatus): boolean {
  return status.causes.some(({ reason }) => reason === 'NamespaceTerminating');
}

/**
 * Whether a PATCH is refused since the Lease is not as the patch expects: an operation does not apply (of
 * which the API server names no object and no cause, unlike a refused validation), or the uid is another's.
 */
export function isUnmetCondition(status: ApiStatus): boolean {
  const { reason, kind, causes, objection } = status;
  return (
    reason === 'Invalid' &&
    (causes.some(({ field }) => field === 'metadata.uid') ||
      (causes.length === 0 && kind === undefined && objection === undefined))
  );
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
    if (typeof (spec[field] ?? '') !== 'string') {
      throw new UnreadableAnswer(`spec.${field} is not a string`);
    }
  }
  for (const field of ['leaseDurationSeconds', 'leaseTransitions']) {
    if (!Number.isSafeInteger(spec[field] ?? 0)) {
      throw new UnreadableAnswer(`spec.${field} is not a whole number`);
    }
  }
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
