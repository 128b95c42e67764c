/** The API server: the storage of the embedded one, asked without HTTP, and who wrote what. */
import { contentOf } from '../../lib/kube/kubernetes-lease-store.js';
import type {
  Lease,
  LeaseKey,
  LeasePatch,
  StoredLease,
} from '../../lib/kube/lease-store.js';
import { badRequest } from '../../lib/testing/api-status.js';
import { LeaseApi } from '../../lib/testing/lease-api.js';
import {
  DecodeError,
  readLease,
  type DecodedLease,
} from '../../lib/testing/lease-codec.js';
import {
  LeaseStorage,
  type StoredEntry,
} from '../../lib/testing/lease-storage.js';
import type { Machine } from './machine.js';

/** Who sends a request. */
export interface Author {
  readonly name: string;
  readonly kind: 'engine' | 'client-go' | 'k8slock' | 'third-party';
  /** Where it runs; nobody asks where a third party does. */
  readonly machine?: Machine;
}

/** What was stored at some moment. */
export interface Backup {
  readonly version: bigint;
  readonly entries: ReadonlyMap<string, StoredEntry>;
}

/** A change of what is stored, at the moment at which it is applied. */
export interface AppliedWrite {
  readonly author: Author;
  readonly verb: 'create' | 'update' | 'patch' | 'delete';
  readonly key: LeaseKey;
  readonly before: StoredLease | undefined;
  /** Undefined: deleted. */
  readonly after: StoredLease | undefined;
  readonly version: bigint;
}

export class ApiModel {
  private storage: LeaseStorage;
  private readonly listeners = new Set<(write: AppliedWrite) => void>();
  private request: Pick<AppliedWrite, 'author' | 'verb' | 'key'> | undefined;

  constructor() {
    this.storage = this.createStorage({ version: 100n, entries: new Map() });
  }

  /** The version of the latest write. */
  get version(): bigint {
    return this.storage.version;
  }

  /** Much is written afterwards, to other objects: what is written after a restore has a version of its own. */
  backUp(): Backup {
    const { version } = this.storage;
    this.storage['current'] += 10_000n;
    return { version, entries: new Map(this.storage['entries']) };
  }

  /** Everything is as it was then, the count of versions, too. Nobody is told. */
  restore(backup: Backup): void {
    this.storage = this.createStorage(backup);
  }

  /** @returns how to stop */
  subscribe(listener: (write: AppliedWrite) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  get(key: LeaseKey): StoredLease | undefined {
    return this.storage.get(key)?.lease;
  }

  list(namespace: string): StoredLease[] {
    return this.storage.list(namespace).map(({ lease }) => lease);
  }

  create(author: Author, key: LeaseKey, lease: Lease): StoredLease {
    this.request = { author, verb: 'create', key };
    return this.storage.create(key, decode(lease)).lease;
  }

  update(author: Author, key: LeaseKey, lease: Lease): StoredLease {
    this.request = { author, verb: 'update', key };
    const decoded = decode(lease);
    const { uid } = decoded.metadata;
    if (uid !== undefined) {
      this.storage.requireUid(key, uid);
    }
    return this.storage.update(key, decoded).entry.lease;
  }

  patch(author: Author, key: LeaseKey, patch: LeasePatch): StoredLease {
    this.request = { author, verb: 'patch', key };
    const answer = new LeaseApi(this.storage, undefined).patch({
      ...key,
      ...contentOf(patch),
      query: new URLSearchParams(),
    });
    return JSON.parse(answer.body);
  }

  delete(
    author: Author,
    key: LeaseKey,
    precondition?: { uid: string; resourceVersion: string },
  ): void {
    this.request = { author, verb: 'delete', key };
    this.storage.delete(key, precondition);
  }

  private createStorage({
    version: firstVersion,
    entries,
  }: Backup): LeaseStorage {
    const storage = new LeaseStorage({
      firstVersion,
      historySize: 1_000_000,
      coordinatedLeaderElection: true,
    });
    for (const [id, entry] of entries) {
      storage['entries'].set(id, entry);
    }
    storage.subscribe(({ version, before, after, deleted }) => {
      const write: AppliedWrite = {
        ...this.request!,
        before: before?.lease,
        after: deleted ? undefined : after.lease,
        version,
      };
      for (const listener of this.listeners) {
        listener(write);
      }
    });
    return storage;
  }
}

function decode(lease: Lease): DecodedLease {
  try {
    return readLease(lease);
  } catch (error) {
    throw error instanceof DecodeError ? badRequest(error.message) : error;
  }
}
