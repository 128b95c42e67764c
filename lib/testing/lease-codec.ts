/** Reads a Lease from JSON as the API server does: known fields only, in canonical form, types enforced. */
import { badRequest } from './api-status.js';
import { parseMicroTime } from './micro-time.js';

/** The metadata fields of a Lease that a client may write. */
export interface MetadataFields {
  name: string;
  generateName: string;
  namespace: string;
  selfLink: string;
  uid: string;
  resourceVersion: string;
  generation: number;
  creationTimestamp: string;
  deletionTimestamp: string;
  deletionGracePeriodSeconds: number;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  ownerReferences: Partial<OwnerReference>[];
  finalizers: string[];
  managedFields: never;
}

interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller: boolean;
  blockOwnerDeletion: boolean;
}

/** The spec fields of a Lease that a client may write. */
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
  /** Paths of the unknown fields, which are dropped. */
  unknownFields: string[];
}

/** A value can't be read; the message is the Go decoder's. */
export class DecodeError extends Error {}

type JsonObject = Record<string, unknown>;
/** Reads one value; undefined drops the field. */
type Reader<T> = (
  value: unknown,
  path: string,
  unknown: string[],
) => T | undefined;

const INT32_MAX = 2 ** 31 - 1;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

/** The Go struct that declares a field. */
function structOf(path: string): string {
  if (path.startsWith('metadata.')) {
    return 'ObjectMeta';
  }
  return path.startsWith('spec.') ? 'LeaseSpec' : 'Lease';
}

function mismatch(value: unknown, path: string, type: string): never {
  const is = Array.isArray(value)
    ? 'array'
    : typeof value === 'number'
      ? type === 'string' || type.includes('[')
        ? 'number'
        : `number ${value}`
      : typeof value === 'boolean'
        ? 'bool'
        : typeof value;
  throw new DecodeError(
    `json: cannot unmarshal ${is} into Go struct field ${structOf(path)}.${path} of type ${type}`,
  );
}

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A field that Go declares as a plain string: null and "" count as absent. */
const text: Reader<string> = (value, path) => {
  if (value === null || value === '') {
    return undefined;
  }
  return typeof value === 'string' ? value : mismatch(value, path, 'string');
};

/** A field that Go declares as a pointer: null counts as absent, "" does not. */
const optionalText: Reader<string> = (value, path) => {
  if (value === null) {
    return undefined;
  }
  return typeof value === 'string' ? value : mismatch(value, path, 'string');
};

const integer =
  (type: 'int32' | 'int64'): Reader<number> =>
  (value, path) => {
    if (value === null) {
      return undefined;
    }
    const fits =
      typeof value === 'number' &&
      Number.isInteger(value) &&
      (type === 'int64' || (value <= INT32_MAX && value >= -INT32_MAX - 1));
    return fits ? value : mismatch(value, path, type);
  };

const flag: Reader<boolean> = (value, path) => {
  if (value === null) {
    return undefined;
  }
  return typeof value === 'boolean' ? value : mismatch(value, path, 'bool');
};

const textMap: Reader<Record<string, string>> = (value, path) => {
  if (value === null) {
    return undefined;
  }
  if (!isObject(value)) {
    mismatch(value, path, 'map[string]string');
  }
  const keys = Object.keys(value).toSorted();
  if (keys.length === 0) {
    return undefined;
  }
  return Object.fromEntries(
    keys.map((key) => [key, text(value[key], path, []) ?? '']),
  );
};

const list =
  <T>(item: Reader<T>, type: string): Reader<T[]> =>
  (value, path, unknown) => {
    if (value === null) {
      return undefined;
    }
    if (!Array.isArray(value)) {
      mismatch(value, path, `[]${type}`);
    }
    const read = value.map((each, i) => item(each, `${path}[${i}]`, unknown));
    return read.length === 0
      ? undefined
      : read.filter((each) => each !== undefined);
  };

const struct =
  <T extends object>(
    type: string,
    fields: { [K in keyof T]: Reader<T[K]> },
  ): Reader<Partial<T>> =>
  (value, path, unknown) => {
    const result: Partial<T> = {};
    if (value === null || value === undefined) {
      return result;
    }
    if (!isObject(value)) {
      mismatch(value, path, type);
    }
    const prefix = path === '' ? '' : `${path}.`;
    for (const key in value) {
      if (!Object.hasOwn(fields, key)) {
        unknown.push(`${prefix}${key}`);
      }
    }
    for (const key in fields) {
      if (value[key] === undefined) {
        continue;
      }
      const read = fields[key](value[key], `${prefix}${key}`, unknown);
      if (read !== undefined) {
        result[key] = read;
      }
    }
    return result;
  };

const time: Reader<string> = (value, path) => {
  if (value === null || value === '') {
    return undefined;
  }
  if (typeof value !== 'string') {
    mismatch(value, path, 'string');
  }
  const at = TIME.test(value) ? Date.parse(value) : NaN;
  if (Number.isNaN(at)) {
    throw new DecodeError(
      `parsing time ${JSON.stringify(value)} as "2006-01-02T15:04:05Z07:00": cannot parse ${JSON.stringify(value)} as "2006"`,
    );
  }
  return new Date(at).toISOString().replace(/\.\d+Z$/, 'Z');
};

const microTime: Reader<string> = (value, path) => {
  if (value === null) {
    return undefined;
  }
  if (typeof value !== 'string') {
    mismatch(value, path, 'string');
  }
  try {
    return parseMicroTime(value);
  } catch (error) {
    throw new DecodeError(error instanceof Error ? error.message : '');
  }
};

const readMetadata = struct<MetadataFields>('v1.ObjectMeta', {
  name: text,
  generateName: text,
  namespace: text,
  selfLink: text,
  uid: text,
  resourceVersion: text,
  generation: integer('int64'),
  creationTimestamp: time,
  deletionTimestamp: time,
  deletionGracePeriodSeconds: integer('int64'),
  labels: textMap,
  annotations: textMap,
  ownerReferences: list(
    struct<OwnerReference>('v1.OwnerReference', {
      apiVersion: text,
      kind: text,
      name: text,
      uid: text,
      controller: flag,
      blockOwnerDeletion: flag,
    }),
    'v1.OwnerReference',
  ),
  finalizers: list(text, 'string'),
  // A known field, but managers are not tracked here.
  managedFields: () => undefined,
});

const readSpec = struct<SpecFields>('v1.LeaseSpec', {
  holderIdentity: optionalText,
  leaseDurationSeconds: integer('int32'),
  acquireTime: microTime,
  renewTime: microTime,
  leaseTransitions: integer('int32'),
  strategy: optionalText,
  preferredHolder: optionalText,
});

/** Parses a body as JSON, answering 400 if it is not JSON. */
export function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw unrecognized(body, error instanceof Error ? error.message : '');
  }
}

/** Reads a Lease. @throws {@link DecodeError} if a value has the wrong type. */
export function readLease(value: JsonObject): DecodedLease {
  const decoded: DecodedLease = { metadata: {}, spec: {}, unknownFields: [] };
  const { unknownFields } = decoded;
  for (const [key, field] of Object.entries(value)) {
    if (key === 'metadata') {
      decoded.metadata = readMetadata(field, key, unknownFields) ?? {};
    } else if (key === 'spec') {
      decoded.spec = readSpec(field, key, unknownFields) ?? {};
    } else if (key !== 'kind' && key !== 'apiVersion') {
      unknownFields.push(key);
    }
  }
  return decoded;
}

/** Reads the Lease of a create or update, answering 400 if it is not a Lease. */
export function decodeLease(body: string): DecodedLease {
  const value = parseJson(body) ?? {};
  if (!isObject(value)) {
    throw unrecognized(body, 'not an object');
  }
  const { apiVersion = 'coordination.k8s.io/v1', kind = 'Lease' } = value;
  if (kind !== 'Lease' || apiVersion !== 'coordination.k8s.io/v1') {
    const version = String(apiVersion).split('/').at(-1);
    throw badRequest(
      `${String(kind)} in version "${version}" cannot be handled as a Lease: no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion)}`,
    );
  }
  try {
    return readLease(value);
  } catch (error) {
    if (!(error instanceof DecodeError)) {
      throw error;
    }
    throw badRequest(
      `Lease in version "v1" cannot be handled as a Lease: ${error.message}`,
    );
  }
}

const unrecognized = (body: string, why: string) =>
  badRequest(
    `the object provided is unrecognized (must be of type Lease): couldn't get version/kind; json parse error: ${why} (${body === '' ? '<empty>' : body.slice(0, 30)})`,
  );
