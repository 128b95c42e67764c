/** The set-up for single peers: starts them, reads the record between their turns, and ends them. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LeaseSpec } from '../../lib/kube/lease-store.js';
import { KubeClient, type KubeObject } from '../../test/kube-client.js';
import { Contender } from './contender.js';
import type { Interop } from './describe-interop.js';
import type { PeerOptions, Turns } from './programs/options.js';

const HOUR = 3_600_000;
/** Keeps the lock as long as it can. */
export const ALWAYS: Turns = { hold: [HOUR, HOUR], rest: [HOUR, HOUR] };
/** Gives the lock up soon, and does not come back. */
export const ONCE: Turns = { hold: [50, 50], rest: [HOUR, HOUR] };

const LOOK_INTERVAL = 20;

export class PeerProcesses implements AsyncDisposable {
  private readonly members: AsyncDisposable[] = [];

  constructor(private readonly interop: Interop) {}

  /** Takes a process in, to be ended with the others. */
  own<T extends AsyncDisposable>(member: T): T {
    this.members.push(member);
    return member;
  }

  /** Has a peer contend for a lock. */
  start(
    lock: string,
    kind: Pick<PeerOptions, 'clientGo' | 'k8slock'>,
    turns: Turns,
    kubeConfigYaml = this.interop.kubeConfigYaml,
  ): Contender {
    const { binary, namespace } = this.interop;
    const name = `peer-of-${lock}`;
    const options = { name, kubeConfigYaml, namespace, lock };
    return this.own(Contender.peer(binary, { ...options, ...kind, ...turns }));
  }

  /** The record as it is now. */
  async specOf(lock: string): Promise<LeaseSpec> {
    const { kubeConfigYaml, namespace } = this.interop;
    const { body } = await new KubeClient(kubeConfigYaml).request<
      KubeObject & { spec: LeaseSpec }
    >(
      'GET',
      `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${lock}`,
    );
    return body.spec;
  }

  /** Waits until the record names no holder. @returns it */
  async free(lock: string): Promise<LeaseSpec> {
    for (;;) {
      // oxlint-disable no-await-in-loop -- one look after the other
      const spec = await this.specOf(lock);
      if (!spec.holderIdentity) {
        return spec;
      }
      await sleep(LOOK_INTERVAL);
      // oxlint-enable no-await-in-loop
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((each) => each[Symbol.asyncDispose]()));
  }
}

/** Milliseconds since the epoch. */
export function timeOf(time: string | null | undefined): number {
  if (!time) {
    throw new Error('the record has no such time');
  }
  return Date.parse(time);
}

/** Milliseconds. */
export function durationOf({ leaseDurationSeconds }: LeaseSpec): number {
  if (!leaseDurationSeconds) {
    throw new Error('the record has no duration');
  }
  return leaseDurationSeconds * 1_000;
}
