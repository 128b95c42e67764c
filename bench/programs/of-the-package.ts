/** What the package does not export; it is built into the folder of the programs. */
import { createRequire } from 'node:module';
import type { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import type { LeaseHolder } from '../../lib/lock/hold/lease-holder.js';

const load = createRequire(import.meta.url);

export const storeOfThePackage = (): typeof KubernetesLeaseStore =>
  load('../../dist/kube/kubernetes-lease-store.js').KubernetesLeaseStore;

export const holderOfThePackage = (): typeof LeaseHolder =>
  load('../../dist/lock/hold/lease-holder.js').LeaseHolder;
