/** Determines the rights on Leases that locks need, and asks the API server which of them are missing. */
import type { LeaseStore, LeaseVerb } from './lease-store.js';
import { quote } from '../printable.js';

/** Locks of one namespace that are known before they are acquired. */
export interface LockNeeds {
  readonly namespace: string;
  /** The Lease names that are known at startup; calls may add others. */
  readonly leaseNames: readonly string[];
  /** R12: whether locks are held under sessions, whose names are not known before. */
  readonly hasSessions: boolean;
  readonly createLease: boolean;
  readonly deleteOnRelease: boolean;
}

/** A right that the API server does not grant. */
export interface MissingRight {
  readonly verb: LeaseVerb;
  readonly namespace: string;
}

/** As in: this process may not … */
export function describeRights(rights: readonly MissingRight[]): string {
  return rights
    .map(
      ({ verb, namespace }) =>
        `may not ${verb} leases.coordination.k8s.io in namespace ${quote(namespace)}`,
    )
    .join(', ');
}

/**
 * The rights that are missing, by namespace.
 *
 * @throws LeaseStoreError
 */
export async function findMissingRights(
  store: LeaseStore,
  needs: readonly LockNeeds[],
  timeout: number,
): Promise<MissingRight[]> {
  const byNamespace = new Map<string, LockNeeds>();
  for (const need of needs) {
    const others = byNamespace.get(need.namespace);
    byNamespace.set(need.namespace, {
      namespace: need.namespace,
      leaseNames: [...(others?.leaseNames ?? []), ...need.leaseNames],
      hasSessions: need.hasSessions,
      createLease: need.createLease || others?.createLease === true,
      deleteOnRelease: need.deleteOnRelease || others?.deleteOnRelease === true,
    });
  }
  const missing = await Promise.all(
    Array.from(byNamespace.values(), async (need) => {
      const verbs = await findMissingVerbs(store, need, timeout);
      return verbs.map((verb) => ({ verb, namespace: need.namespace }));
    }),
  );
  return missing.flat();
}

/**
 * The verbs that are not granted. A Role may grant a verb for all Leases or only for those that it names
 * (`resourceNames`), which is enough if it names all known Leases.
 *
 * @throws LeaseStoreError
 */
async function findMissingVerbs(
  store: LeaseStore,
  needs: LockNeeds,
  timeout: number,
): Promise<LeaseVerb[]> {
  const { namespace, leaseNames, hasSessions } = needs;
  const isGranted = async (verb: LeaseVerb): Promise<boolean> => {
    if (await store.mayI(verb, { namespace }, { timeout })) {
      return true;
    }
    // resourceNames cannot restrict `create`: the request has no object name.
    if (verb === 'create' || leaseNames.length === 0 || hasSessions) {
      return false;
    }
    const answers = await Promise.all(
      leaseNames.map((name) =>
        store.mayI(verb, { namespace, name }, { timeout }),
      ),
    );
    return answers.every(Boolean);
  };
  const answers = await Promise.all(
    verbsOf(needs).map(async (verb) => ((await isGranted(verb)) ? [] : [verb])),
  );
  return answers.flat();
}

function verbsOf({
  hasSessions,
  createLease,
  deleteOnRelease,
}: LockNeeds): LeaseVerb[] {
  return [
    'get',
    'update',
    'patch',
    'list',
    'watch',
    ...(createLease || hasSessions ? (['create'] as const) : []),
    ...(deleteOnRelease || hasSessions ? (['delete'] as const) : []),
  ];
}
