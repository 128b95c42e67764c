/** Implements the verbs on Leases, from a parsed request to its answer, without HTTP. */
import type { LeaseKey, StoredLease } from '../kube/lease-store.js';
import * as status from './api-status.js';
import {
  DecodeError,
  decodeLease,
  isObject,
  parseJson,
  readLease,
  type DecodedLease,
} from './lease-codec.js';
import { storageKey, type LeaseStorage } from './lease-storage.js';
import { invalidValue } from './lease-validation.js';
import { jsonPatch, mergePatch, PatchError } from './patch.js';
import {
  continueToken,
  deletePrecondition,
  listOptions,
  watchOptions,
} from './request-options.js';
import type { WatchOptions } from './watches.js';

/** Whether a namespace takes new objects. */
export type NamespacePhase = 'Active' | 'Terminating';

/** The answer to a request. */
export interface Answer {
  code: number;
  body: string;
  headers?: Record<string, string>;
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

const JSON_PATCH = 'application/json-patch+json';
const MERGE_PATCH = 'application/merge-patch+json';

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
    const { selects, limit, after } = listOptions(query);
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
    const decoded = decodeLease(request.body);
    requireNamespaceOf(decoded, namespace);
    const key = { namespace, name: decoded.metadata.name ?? '' };
    this.requireNamespace(key, true);
    const isDryRun = query.get('dryRun') === 'All';
    return {
      code: 201,
      body: this.storage.create(key, decoded, isDryRun).json,
    };
  }

  update(request: ApiRequest): Answer {
    const key = keyOf(request);
    const decoded = decodeLease(request.body);
    requireNamespaceOf(decoded, key.namespace);
    requireName(decoded, key);
    const { uid } = decoded.metadata;
    if (uid !== undefined) {
      this.storage.requireUid(key, uid);
    }
    if (!this.storage.get(key)) {
      request.authorizeCreation?.();
    }
    return this.replace(key, decoded);
  }

  patch(request: ApiRequest): Answer {
    const { contentType, body } = request;
    if (![JSON_PATCH, MERGE_PATCH].includes(contentType)) {
      throw status.unsupportedPatchType();
    }
    const key = keyOf(request);
    const stored = this.storage.get(key);
    if (!stored) {
      throw status.leaseNotFound(key.name);
    }
    const decoded = readPatched(applyPatch(contentType, stored.lease, body));
    requireNamespaceOf(decoded, key.namespace);
    requireName(decoded, key);
    return this.replace(key, decoded);
  }

  delete(request: ApiRequest): Answer {
    const key = keyOf(request);
    const precondition = deletePrecondition(request.body);
    const { entry, isGone } = this.storage.delete(key, precondition);
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

  private replace(key: LeaseKey, decoded: DecodedLease): Answer {
    this.requireNamespace(key, this.storage.get(key) === undefined);
    const { entry, created } = this.storage.update(key, decoded);
    return { code: created ? 201 : 200, body: entry.json };
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
  const patch = parseJson(body);
  if (type !== JSON_PATCH) {
    if (isObject(patch)) {
      return mergePatch(stored, patch);
    }
    throw status.badRequest('a merge patch is an object');
  }
  if (!Array.isArray(patch)) {
    throw status.badRequest('a JSON patch is a list');
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
function readPatched(patched: Record<string, unknown>): DecodedLease {
  try {
    return readLease(patched);
  } catch (error) {
    if (error instanceof DecodeError) {
      throw status.invalid('', '', [
        invalidValue('patch', JSON.stringify(patched), error.message),
      ]);
    }
    throw error;
  }
}
