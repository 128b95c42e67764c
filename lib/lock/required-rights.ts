/** Which rights to Leases locks need, and which of them the API server does not grant. */
import type { LeaseStore, LeaseVerb } from '../kube/lease-store.js';

/** Locks of one namespace that are known before they are acquired. */
export interface LockNeeds {
  readonly namespace: string;
  /** The names of the Leases that are known; others may come. */
  readonly leaseNames: readonly string[];
  readonly createLease: boolean;
  readonly deleteOnRelease: boolean;
}

/**
 * The verbs that are not granted. A Role may grant a verb for all Leases or for those that it names
 * (`resourceNames`); the latter will do if all known names are among them.
 *
 * @throws LeaseStoreError
 */
export async function findMissingVerbs(
  store: LeaseStore,
  needs: LockNeeds,
  timeout: number,
): Promise<LeaseVerb[]> {
  const { namespace, leaseNames } = needs;
  const isGranted = async (verb: LeaseVerb): Promise<boolean> => {
    if (await store.mayI(verb, { namespace }, { timeout })) {
      return true;
    }
    // A creation has no name yet that a Role could be about.
    if (verb === 'create' || leaseNames.length === 0) {
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

function verbsOf({ createLease, deleteOnRelease }: LockNeeds): LeaseVerb[] {
  return [
    'get',
    'update',
    'list',
    'watch',
    ...(createLease ? (['create'] as const) : []),
    ...(deleteOnRelease ? (['delete'] as const) : []),
  ];
}
