/** Reads and validates the options of a request: the query parameters, and the body of a DELETE. */
import * as status from './api-status.js';
import { isObject, parseJson } from './lease-codec.js';
import type { DeletePrecondition } from './lease-storage.js';
import { parseSelectors, type Selects } from './selectors.js';
import type { WatchOptions } from './watches.js';

/** The options of a create, update or patch. */
export interface WriteOptions {
  /** Do everything except storing. */
  dryRun: boolean;
  /** How unknown fields are treated: `Ignore`, `Warn` (the default), or `Strict` (400). */
  fieldValidation: string;
}

/** A watch without timeoutSeconds ends after a random time of 30 to 60 minutes. */
const MIN_WATCH_SECONDS = 1_800;

const FIELD_VALIDATIONS = ['', 'Ignore', 'Strict', 'Warn'];

/** A boolean parameter: every value except "false" and "0" is true; undefined if absent. */
export function flag(
  query: URLSearchParams,
  field: string,
): boolean | undefined {
  const value = query.get(field);
  return value === null ? undefined : !/^(?:false|0)$/i.test(value);
}

function notSupported(
  kind: string,
  field: string,
  value: string,
  supported: readonly string[],
) {
  const quoted = supported.map((each) => JSON.stringify(each)).join(', ');
  return status.invalid(
    kind,
    '',
    [
      {
        reason: 'FieldValueNotSupported',
        message: `Unsupported value: ${value}: supported values: ${quoted}`,
        field,
      },
    ],
    'meta.k8s.io',
  );
}

function dryRunOf(values: readonly string[], kind: string): boolean {
  if (values.every((value) => value === 'All')) {
    return values.length > 0;
  }
  throw notSupported(kind, 'dryRun', JSON.stringify(values), ['All']);
}

/** @param kind the kind of the options, for messages: `CreateOptions`, `UpdateOptions`, `PatchOptions` */
export function writeOptions(
  query: URLSearchParams,
  kind: string,
): WriteOptions {
  const dryRun = dryRunOf(query.getAll('dryRun'), kind);
  const directive = query.get('fieldValidation') ?? '';
  if (!FIELD_VALIDATIONS.includes(directive)) {
    throw notSupported(
      kind,
      'fieldValidation',
      JSON.stringify(directive),
      FIELD_VALIDATIONS,
    );
  }
  return { dryRun, fieldValidation: directive || 'Warn' };
}

/** Reads DeleteOptions from the body, or from the query if there is no body. */
export function deleteOptions(
  query: URLSearchParams,
  body: string,
): { preconditions: DeletePrecondition; dryRun: boolean } {
  const value = body === '' ? {} : parseJson(body);
  if (
    !isObject(value) ||
    (value['kind'] ?? 'DeleteOptions') !== 'DeleteOptions'
  ) {
    throw status.badRequest(
      'decoded object cannot be converted to DeleteOptions',
    );
  }
  const { preconditions, dryRun = query.getAll('dryRun') } = value;
  const { uid, resourceVersion } = isObject(preconditions) ? preconditions : {};
  return {
    preconditions: {
      ...text('uid', uid),
      ...text('resourceVersion', resourceVersion),
    },
    dryRun: dryRunOf(Array.isArray(dryRun) ? dryRun : [], 'DeleteOptions'),
  };
}

/** A precondition as a property, if it is given. */
function text(field: string, value: unknown): DeletePrecondition {
  if (value === undefined || value === null) {
    return {};
  }
  if (typeof value === 'string') {
    return { [field]: value };
  }
  throw status.badRequest(
    `json: cannot unmarshal ${typeof value} into Go struct field Preconditions.preconditions.${field} of type string`,
  );
}

/** The options of a list. */
export interface ListOptions {
  selects: Selects;
  /** The largest number of items; 0: all. */
  limit: number;
  /** The key after which the list continues. */
  after?: string;
}

/** @param current the present version; a list of a later version is refused */
export function listOptions(
  query: URLSearchParams,
  current: bigint,
): ListOptions {
  const version = versionOf(query);
  if (version === undefined) {
    throw status.badRequest(`invalid resource version: ${unparsable(query)}`);
  }
  if (version > current) {
    throw status.tooLargeVersion(version, current);
  }
  const token = query.get('continue');
  return {
    selects: selectorsOf(query),
    limit: integer(query, 'limit'),
    ...(token && { after: Buffer.from(token, 'base64url').toString() }),
  };
}

/** The token with which a list continues after this key. */
export const continueToken = (key: string) =>
  Buffer.from(key).toString('base64url');

export function watchOptions(
  query: URLSearchParams,
  namespace: string | undefined,
): WatchOptions {
  const since = versionOf(query);
  if (since === undefined) {
    // The real server does not map this error to a status of its own.
    throw new status.ApiError(500, undefined, unparsable(query));
  }
  requireMatch(query);
  const timeoutSeconds = integer(query, 'timeoutSeconds');
  return {
    ...(namespace !== undefined && { namespace }),
    selects: selectorsOf(query),
    since,
    initialEvents: flag(query, 'sendInitialEvents') ?? since === 0n,
    bookmarks: flag(query, 'allowWatchBookmarks') ?? false,
    timeoutSeconds:
      timeoutSeconds > 0
        ? timeoutSeconds
        : MIN_WATCH_SECONDS * (1 + Math.random()),
  };
}

/** `sendInitialEvents` needs `resourceVersionMatch=NotOlderThan`, and only it may have one. */
function requireMatch(query: URLSearchParams): void {
  const match = query.get('resourceVersionMatch') ?? '';
  const begins = query.has('sendInitialEvents');
  if (match === (begins ? 'NotOlderThan' : '')) {
    return;
  }
  throw status.invalid(
    'ListOptions',
    '',
    [
      {
        reason: 'FieldValueForbidden',
        message: begins
          ? 'Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan'
          : 'Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
        field: 'resourceVersionMatch',
      },
    ],
    'meta.k8s.io',
  );
}

const selectorsOf = (query: URLSearchParams) =>
  parseSelectors(query.get('labelSelector'), query.get('fieldSelector'));

/** The requested resourceVersion; 0 if there is none; undefined if it is not a number. */
function versionOf(query: URLSearchParams): bigint | undefined {
  const version = query.get('resourceVersion') ?? '';
  return /^\d*$/.test(version) ? BigInt(version) : undefined;
}

function unparsable(query: URLSearchParams): string {
  const version = JSON.stringify(query.get('resourceVersion'));
  return `resourceVersion: Invalid value: ${version}: strconv.ParseUint: parsing ${version}: invalid syntax`;
}

function integer(query: URLSearchParams, field: string): number {
  const value = query.get(field) ?? '';
  if (/^-?\d*$/.test(value)) {
    return Number(value);
  }
  throw status.badRequest(
    `strconv.ParseInt: parsing ${JSON.stringify(value)}: invalid syntax`,
  );
}
