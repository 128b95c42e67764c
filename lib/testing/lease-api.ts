/** Implements the verbs on Leases, from a parsed request to its answer, without HTTP. */
import type { LeaseKey, StoredLease } from '../kube/lease-store.js';
import * as status from './api-status.js';
import {
  DecodeError,
  decodeLease,
  isObject,
  readLease,
  type DecodedLease,
} from './lease-codec.js';
import { storageKey, type LeaseStorage } from './lease-storage.js';
import { jsonPatch, mergePatch, PatchError } from './patch.js';
import {
  continueToken,
  deleteOptions,
  listOptions,
  watchOptions,
  writeOptions,
  type WriteOptions,
} from './request-options.js';
import type { WatchOptions } from './watches.js';

/** Whether a namespace takes new objects. */
export type NamespacePhase = 'Active' | 'Terminating';

/** The answer to a request. */
export interface Answer {
  code: number;
  body: string;
  headers?: Record<string, string | string[]>;
}

/** The parts of a request on which its answer depends. */
export interface ApiRequest {
  namespace?: string;
  name?: string;
  query: URLSearchParams;
  /** In lower case, without parameters; empty if the request has none. */
  contentType: string;
  body: string;
  /** Called before an update creates a Lease; throws if the user may not create. */
  authorizeCreation?: () => void;
}

const JSON_TYPES = ['', 'application/json'];
const ACCEPTED_TYPES = [
  'application/json',
  'application/yaml',
  'application/vnd.kubernetes.protobuf',
];
const JSON_PATCH = 'application/json-patch+json';
/** A strategic merge patch would merge lists by key, but clients patch no lists of a Lease. */
const MERGE_PATCHES = [
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
];

export class LeaseApi {
  constructor(
    private readonly storage: LeaseStorage,
    /** The namespaces that exist; undefined: all do. */
    private readonly namespaces:
      ReadonlyMap<string, NamespacePhase> | undefined,
  ) {}

  get(request: ApiRequest): Answer {
    const key = keyOf(request);
    const entry = this.storage.get(key);
    if (!entry) {
      throw status.leaseNotFound(key.name);
    }
    return { code: 200, body: entry.json };
  }

  list({ namespace, query }: ApiRequest): Answer {
    const { selects, limit, after } = listOptions(query, this.storage.version);
    const fitting = this.storage
      .list(namespace)
      .map(({ lease }) => lease)
      .filter(selects)
      .filter(
        ({ metadata }) => after === undefined || storageKey(metadata) > after,
      );
    const page = limit > 0 ? fitting.slice(0, limit) : fitting;
    const last = page.at(-1);
    const list = {
      kind: 'LeaseList',
      apiVersion: 'coordination.k8s.io/v1',
      metadata: {
        resourceVersion: String(this.storage.version),
        ...(last &&
          page.length < fitting.length && {
            continue: continueToken(storageKey(last.metadata)),
          }),
      },
      items: page.map(
        ({ kind: _kind, apiVersion: _apiVersion, ...item }) => item,
      ),
    };
    return { code: 200, body: JSON.stringify(list) };
  }

  create(request: ApiRequest): Answer {
    const { namespace = '', query } = request;
    const options = writeOptions(query, 'CreateOptions');
    const decoded = this.decode(request, options);
    const { name, generateName = '' } = decoded.metadata;
    const key = { namespace, name: name ?? generated(generateName) };
    this.requireNamespace(key, true);
    const entry = this.storage.create(key, decoded, options.dryRun);
    return {
      code: 201,
      body: entry.json,
      headers: warnings(decoded, options),
    };
  }

  update(request: ApiRequest): Answer {
    const key = keyOf(request);
    const options = writeOptions(request.query, 'UpdateOptions');
    const decoded = this.decode(request, options);
    requireName(decoded, key);
    const { uid } = decoded.metadata;
    if (uid !== undefined) {
      this.storage.requireUid(key, uid);
    }
    if (!this.storage.get(key)) {
      request.authorizeCreation?.();
    }
    return this.replace(key, decoded, options);
  }

  patch(request: ApiRequest): Answer {
    const { contentType, query, body } = request;
    if (contentType !== JSON_PATCH && !MERGE_PATCHES.includes(contentType)) {
      throw status.unsupportedPatchType();
    }
    const key = keyOf(request);
    const options = writeOptions(query, 'PatchOptions');
    const stored = this.storage.get(key);
    if (!stored) {
      throw status.leaseNotFound(key.name);
    }
    const patched = applyPatch(contentType, stored.lease, body);
    const decoded = readPatched(patched, options);
    requireNamespaceOf(decoded, key.namespace);
    requireName(decoded, key);
    return this.replace(key, decoded, options);
  }

  delete(request: ApiRequest): Answer {
    const key = keyOf(request);
    if (request.body !== '') {
      requireJson(request);
    }
    const { preconditions, dryRun } = deleteOptions(
      request.query,
      request.body,
    );
    const { entry, isGone } = this.storage.delete(key, preconditions, dryRun);
    if (!isGone) {
      return { code: 200, body: entry.json };
    }
    const done = status.deletedStatus(key.name, entry.lease.metadata.uid);
    return { code: 200, body: JSON.stringify(done) };
  }

  /** Reads the options of a watch. @throws {@link status.ApiError} if they are invalid. */
  watchOptions({ namespace, query }: ApiRequest): WatchOptions {
    return watchOptions(query, namespace);
  }

  private replace(
    key: LeaseKey,
    decoded: DecodedLease,
    options: WriteOptions,
  ): Answer {
    this.requireNamespace(key, this.storage.get(key) === undefined);
    const { entry, created } = this.storage.update(
      key,
      decoded,
      options.dryRun,
    );
    return {
      code: created ? 201 : 200,
      body: entry.json,
      headers: warnings(decoded, options),
    };
  }

  private decode(request: ApiRequest, options: WriteOptions): DecodedLease {
    requireJson(request);
    const decoded = decodeLease(request.body);
    if (isStrictlyFaulty(decoded, options)) {
      throw status.badRequest(
        `Lease in version "v1" cannot be handled as a Lease: ${strictFault(decoded)}`,
      );
    }
    requireNamespaceOf(decoded, request.namespace);
    return decoded;
  }

  private requireNamespace(
    { namespace, name }: LeaseKey,
    isNew: boolean,
  ): void {
    if (!this.namespaces) {
      return;
    }
    const phase = this.namespaces.get(namespace);
    if (phase === undefined) {
      throw status.namespaceNotFound(namespace);
    }
    if (isNew && phase === 'Terminating') {
      throw status.namespaceTerminating(namespace, name);
    }
  }
}

const keyOf = ({ namespace, name }: ApiRequest): LeaseKey => ({
  namespace: namespace!,
  name: name!,
});

const unknownField = (path: string) => `unknown field "${path}"`;

const isStrictlyFaulty = (
  { unknownFields }: DecodedLease,
  { fieldValidation }: WriteOptions,
) => fieldValidation === 'Strict' && unknownFields.length > 0;

const strictFault = ({ unknownFields }: DecodedLease) =>
  `strict decoding error: ${unknownFields.map(unknownField).join(', ')}`;

/** A name from a prefix: five random characters of those that Kubernetes uses. */
function generated(prefix: string): string {
  if (prefix === '') {
    return '';
  }
  const alphabet = 'bcdfghjklmnpqrstvwxz2456789';
  const suffix = Array.from(
    { length: 5 },
    () => alphabet[Math.floor(Math.random() * alphabet.length)],
  );
  return `${prefix.slice(0, 58)}${suffix.join('')}`;
}

function warnings(
  { unknownFields }: DecodedLease,
  { fieldValidation }: WriteOptions,
): Answer['headers'] {
  if (unknownFields.length === 0 || fieldValidation === 'Ignore') {
    return {};
  }
  return {
    Warning: unknownFields.map(
      (path) => `299 - ${JSON.stringify(unknownField(path))}`,
    ),
  };
}

function requireJson({ contentType }: ApiRequest): void {
  if (JSON_TYPES.includes(contentType)) {
    return;
  }
  throw status.unsupportedMediaType(ACCEPTED_TYPES);
}

/** The object's namespace defaults to the request's, and must be the same. */
function requireNamespaceOf(
  { metadata }: DecodedLease,
  namespace: string | undefined,
): void {
  if ((metadata.namespace ?? namespace) === namespace) {
    return;
  }
  throw status.badRequest(
    'the namespace of the provided object does not match the namespace sent on the request',
  );
}

function requireName({ metadata }: DecodedLease, { name }: LeaseKey): void {
  if (metadata.name === undefined) {
    throw status.badRequest(
      `the name of the object (${name} based on URL) was undeterminable: name must be provided`,
    );
  }
  if (metadata.name !== name) {
    throw status.badRequest(
      `the name of the object (${metadata.name}) does not match the name on the URL (${name})`,
    );
  }
}

function applyPatch(
  type: string,
  stored: StoredLease,
  body: string,
): Record<string, unknown> {
  let patch: unknown;
  try {
    patch = JSON.parse(body);
  } catch {
    throw status.badRequest('invalid JSON patch');
  }
  if (type !== JSON_PATCH) {
    if (isObject(patch)) {
      return mergePatch(stored, patch);
    }
    throw status.badRequest('Invalid JSON Patch');
  }
  if (!Array.isArray(patch)) {
    throw status.badRequest('error decoding patch: not an array');
  }
  try {
    return jsonPatch(stored, patch);
  } catch (error) {
    if (error instanceof PatchError) {
      throw status.patchFailed();
    }
    throw error;
  }
}

/** Reads a patched Lease, answering 422 if the result is not a Lease. */
function readPatched(
  patched: Record<string, unknown>,
  options: WriteOptions,
): DecodedLease {
  const faulty = (why: string) =>
    status.invalid(
      '',
      '',
      [
        {
          reason: 'FieldValueInvalid',
          message: `Invalid value: ${JSON.stringify(JSON.stringify(patched))}: ${why}`,
          field: 'patch',
        },
      ],
      '',
    );
  if (patched['kind'] !== 'Lease') {
    throw faulty(`no kind ${JSON.stringify(patched['kind'])} is registered`);
  }
  let decoded: DecodedLease;
  try {
    decoded = readLease(patched);
  } catch (error) {
    if (error instanceof DecodeError) {
      throw faulty(error.message);
    }
    throw error;
  }
  if (isStrictlyFaulty(decoded, options)) {
    throw faulty(strictFault(decoded));
  }
  return decoded;
}
