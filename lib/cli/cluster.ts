/** Opens the cluster that the flags name, and finds locks in it. */
import {
  resolveModuleOptions,
  type KubeConfigLike,
} from '../k8s-lock.options.js';
import { loadKubeConfig } from '../kube/kube-config.js';
import {
  ALL_NAMESPACES,
  KubernetesLeaseStore,
} from '../kube/kubernetes-lease-store.js';
import type { StoredLease } from '../kube/lease-store.js';
import { LockClient } from '../lock.client.js';
import type { LockReference } from '../lock.errors.js';
import { systemClock } from '../lock/clock.js';
import { slotLeaseName } from '../lock/lease-name.js';
import { LEASE_PREFIX, numberOf, UsageError, type Flags } from './arguments.js';

export const REQUEST_TIMEOUT = 5_000;

export interface Cluster extends AsyncDisposable {
  readonly kubeConfig: KubeConfigLike;
  readonly client: LockClient;
  readonly store: KubernetesLeaseStore;
  /** {@link ALL_NAMESPACES} for all. */
  readonly namespace: string;
  readonly leaseNameOf: (name: string) => string;
}

export async function connect(flags: Flags): Promise<Cluster> {
  const kubeConfig = await loadKubeConfig({
    file: flags.kubeconfig,
    context: flags.context,
  });
  const store = new KubernetesLeaseStore({
    kubeConfig,
    requestTimeout: REQUEST_TIMEOUT,
  });
  const given = flags.namespace ?? (await store.defaultNamespace());
  const client = new LockClient(
    resolveModuleOptions({
      kubeConfig,
      namespace: given,
      namePrefix: flags.prefix,
      requestTimeout: REQUEST_TIMEOUT,
      shutdownTimeout: 0,
    }),
    { connect: () => ({ store, clock: systemClock }) },
  );
  return {
    kubeConfig,
    client,
    store,
    namespace: flags['all-namespaces'] ? ALL_NAMESPACES : given,
    leaseNameOf: client.leaseNameOf,
    [Symbol.asyncDispose]: () => client.shutdown(),
  };
}

/** The lock of this name, or of the Lease that `-o name` has printed. */
export function lockOf(
  { namespace, leaseNameOf }: Cluster,
  name: string,
  flags: Flags,
): LockReference {
  const slot = numberOf(flags, 'slot', { least: 0, whole: true }) ?? 0;
  const isLease = name.startsWith(LEASE_PREFIX);
  const leaseName = isLease
    ? name.slice(LEASE_PREFIX.length)
    : slotLeaseName(leaseNameOf(name), slot);
  return {
    name: isLease ? leaseName : name,
    namespace,
    leaseName,
    ...(slot > 0 && { slot }),
  };
}

/** Whether a Lease has the labels of a selector. @throws UsageError */
export function parseSelector(selector = ''): (lease: StoredLease) => boolean {
  const terms = selector.split(',').filter((term) => term !== '');
  const tests = terms.map((term) => {
    const [, not, key = '', operator, value = ''] =
      /^(!?)([^=!\s]+)(==?|!=)?([^=!\s]*)$/.exec(term.trim()) ?? [];
    if (
      key === '' ||
      (not && operator !== undefined) ||
      (operator === undefined && value !== '')
    ) {
      throw new UsageError(
        `--selector: ${JSON.stringify(term)} is not understood: write a=b, a!=b, a or !a`,
      );
    }
    return ({ metadata }: StoredLease): boolean => {
      const labels = metadata.labels ?? {};
      const found = Object.hasOwn(labels, key) ? labels[key] : undefined;
      if (operator === undefined) {
        return (found === undefined) === (not === '!');
      }
      return (found === value) === (operator !== '!=');
    };
  });
  return (lease) => tests.every((test) => test(lease));
}
