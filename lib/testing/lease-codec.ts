/** Reads a Lease from JSON as the API server does: known fields only, in canonical form, types enforced. */
import { badRequest } from './api-status.js';

/** The metadata fields of a Lease that are kept. */
export interface MetadataFields {
  name: string;
  namespace: string;
  uid: string;
  resourceVersion: string;
  creationTimestamp: string;
  deletionTimestamp: string;
  deletionGracePeriodSeconds: number;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  ownerReferences: JsonObject[];
  finalizers: string[];
}

/** The spec fields of a Lease that are kept. */
export interface SpecFields {
  holderIdentity: string;
  leaseDurationSeconds: number;
  acquireTime: string;
  renewTime: string;
  leaseTransitions: number;
  strategy: string;
  preferredHolder: string;
}

/** A Lease as it was read, in canonical form: fields in the server's order, times in UTC, nothing null. */
export interface DecodedLease {
  metadata: Partial<MetadataFields>;
  spec: Partial<SpecFields>;
}

/** A value can't be read. */
export class DecodeError extends Error {
  constructor(path: string, rule: string) {
    super(`${path}: must be ${rule}`);
  }
}

type JsonObject = Record<string, unknown>;
/** Reads one value that is not null; undefined drops the field. */
type Reader<T> = (value: unknown, path: string) => T | undefined;

const INT32_MAX = 2 ** 31 - 1;
const MICRO_TIME =
  /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{6})(Z|[+-]\d\d:\d\d)$/;
/** Go's zero time, which is stored as no time at all. */
const ZERO_TIME = '0001-01-01T00:00:00.000000Z';

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** "" is kept: it differs from an absent field. */
const optionalText: Reader<string> = (value, path) => {
  if (typeof value !== 'string') {
    throw new DecodeError(path, 'text');
  }
  return value;
};

/** "" counts as absent. */
const text: Reader<string> = (value, path) =>
  optionalText(value, path) || undefined;

const int32: Reader<number> = (value, path) => {
  if (
    typeof value !== 'number' ||
    !Number.isInteger(value) ||
    Math.abs(value) > INT32_MAX
  ) {
    throw new DecodeError(path, 'an integer of 32 bits');
  }
  return value;
};

/** To the microsecond, with exactly six fraction digits. */
const microTime: Reader<string> = (value, path) => {
  const [, seconds = '', fraction, zone = ''] =
    MICRO_TIME.exec(optionalText(value, path) ?? '') ?? [];
  const utc = Date.parse(seconds + zone);
  // A day or an hour that there is not counts on to the next.
  if (Number.isNaN(utc) || secondsOf(Date.parse(`${seconds}Z`)) !== seconds) {
    throw new DecodeError(path, 'a time with six fraction digits');
  }
  const time = `${secondsOf(utc)}${fraction}Z`;
  return time === ZERO_TIME ? undefined : time;
};

const secondsOf = (time: number): string =>
  new Date(time).toISOString().slice(0, 19);

const textMap: Reader<Record<string, string>> = (value, path) => {
  if (!isObject(value)) {
    throw new DecodeError(path, 'an object');
  }
  const keys = Object.keys(value).toSorted();
  return keys.length === 0
    ? undefined
    : Object.fromEntries(
        keys.map((key) => [key, optionalText(value[key] ?? '', path) ?? '']),
      );
};

const list =
  <T>(isItem: (item: unknown) => item is T): Reader<T[]> =>
  (value, path) => {
    if (!Array.isArray(value) || !value.every(isItem)) {
      throw new DecodeError(path, 'a list');
    }
    return value.length === 0 ? undefined : value;
  };

/** Fields that a Lease does not have are dropped. */
const struct =
  <T extends object>(fields: { [K in keyof T]: Reader<T[K]> }): Reader<
    Partial<T>
  > =>
  (value, path) => {
    if (!isObject(value)) {
      throw new DecodeError(path, 'an object');
    }
    const result: Partial<T> = {};
    for (const key in fields) {
      const given = value[key] ?? undefined;
      const read =
        given === undefined ? given : fields[key](given, `${path}.${key}`);
      if (read !== undefined) {
        result[key] = read;
      }
    }
    return result;
  };

const readMetadata = struct<MetadataFields>({
  name: text,
  namespace: text,
  uid: text,
  resourceVersion: text,
  creationTimestamp: text,
  deletionTimestamp: text,
  deletionGracePeriodSeconds: int32,
  labels: textMap,
  annotations: textMap,
  ownerReferences: list(isObject),
  finalizers: list((item) => typeof item === 'string'),
});

const readSpec = struct<SpecFields>({
  holderIdentity: optionalText,
  leaseDurationSeconds: int32,
  acquireTime: microTime,
  renewTime: microTime,
  leaseTransitions: int32,
  strategy: optionalText,
  preferredHolder: optionalText,
});

/** Parses a body as JSON, answering 400 if it is not JSON. */
export function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw badRequest(`the body is no JSON: ${String(error)}`);
  }
}

/** Reads a Lease. @throws {@link DecodeError} if a value has the wrong type, or the object another kind. */
export function readLease({
  apiVersion = 'coordination.k8s.io/v1',
  kind = 'Lease',
  metadata,
  spec,
}: JsonObject): DecodedLease {
  if (kind !== 'Lease' || apiVersion !== 'coordination.k8s.io/v1') {
    throw new DecodeError('kind', 'Lease of coordination.k8s.io/v1');
  }
  return {
    metadata: readMetadata(metadata ?? {}, 'metadata') ?? {},
    spec: readSpec(spec ?? {}, 'spec') ?? {},
  };
}

/** Reads the Lease of a create or update, answering 400 if it is not a Lease. */
export function decodeLease(body: string): DecodedLease {
  const value = parseJson(body) ?? {};
  if (!isObject(value)) {
    throw badRequest('the body is no object');
  }
  try {
    return readLease(value);
  } catch (error) {
    throw error instanceof DecodeError ? badRequest(error.message) : error;
  }
}
