/** Reads and validates the options of a request: the query parameters, and the body of a DELETE. */
import * as status from './api-status.js';
import { isObject, parseJson } from './lease-codec.js';
import type { DeletePrecondition } from './lease-storage.js';
import { parseSelectors, type Selects } from './selectors.js';
import type { WatchOptions } from './watches.js';

/** A watch without timeoutSeconds ends after a random time of 30 to 60 minutes. */
const MIN_WATCH_SECONDS = 1_800;

/** A boolean parameter: every value except "false" and "0" is true; false if absent. */
export function flag(query: URLSearchParams, field: string): boolean {
  return !/^(?:false|0)$/i.test(query.get(field) ?? 'false');
}

/** Reads DeleteOptions from the body. */
export function deletePrecondition(body: string): DeletePrecondition {
  const value = body === '' ? {} : parseJson(body);
  const given = isObject(value) ? (value['preconditions'] ?? {}) : undefined;
  if (!isObject(given)) {
    throw status.badRequest('the body is no DeleteOptions');
  }
  const { uid, resourceVersion } = given;
  return {
    ...(typeof uid === 'string' && { uid }),
    ...(typeof resourceVersion === 'string' && { resourceVersion }),
  };
}

/** The options of a list. */
export interface ListOptions {
  selects: Selects;
  /** The largest number of items; 0: all. */
  limit: number;
  /** The key after which the list continues. */
  after?: string;
}

export function listOptions(query: URLSearchParams): ListOptions {
  const token = query.get('continue');
  return {
    selects: selectorsOf(query),
    limit: Number(digits(query, 'limit')),
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
  const timeoutSeconds = Number(digits(query, 'timeoutSeconds'));
  return {
    ...(namespace !== undefined && { namespace }),
    selects: selectorsOf(query),
    since: BigInt(digits(query, 'resourceVersion')),
    bookmarks: flag(query, 'allowWatchBookmarks'),
    timeoutSeconds:
      timeoutSeconds > 0
        ? timeoutSeconds
        : MIN_WATCH_SECONDS * (1 + Math.random()),
  };
}

const selectorsOf = (query: URLSearchParams) =>
  parseSelectors(query.get('labelSelector'), query.get('fieldSelector'));

/** A number as text; "" for none. @throws 400 when it is none. */
function digits(query: URLSearchParams, field: string): string {
  const value = query.get(field) ?? '';
  if (!/^\d*$/.test(value)) {
    throw status.badRequest(`${field}: "${value}" is no number`);
  }
  return value;
}
