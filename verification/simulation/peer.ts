/** What the models of peers written in Go share: a process, a store, and an end. */
import {
  LeaseStoreError,
  type StoredLease,
} from '../../lib/kube/lease-store.js';
import type { LockReference } from '../../lib/lock.errors.js';
import type { Machine } from './machine.js';
import type { Random } from './random.js';
import { uidOf } from './session-states.js';
import { SimulatedStore } from './simulated-store.js';
import type { World } from './world.js';

export interface PeerOptions {
  readonly lock: LockReference;
  /** Milliseconds. */
  readonly leaseDuration: number;
  readonly requestTimeout: number;
}

export abstract class Peer {
  protected readonly store: SimulatedStore;
  /** It has come to its end, in peace or by a panic. */
  isGone = false;
  private runs = 0;

  constructor(
    protected readonly world: World,
    readonly machine: Machine,
    readonly kind: 'client-go' | 'k8slock',
    protected readonly random: Random,
    protected readonly options: PeerOptions,
  ) {
    this.store = new SimulatedStore(
      world,
      { name: machine.name, kind, machine },
      options.requestTimeout,
    );
  }

  /** Takes part until the faults end. */
  async run(): Promise<void> {
    const { machine, random, world } = this;
    while (!world.isHealed) {
      // oxlint-disable no-await-in-loop -- one term after the other
      await machine.sleep(random.magnitude(1, this.options.leaseDuration));
      if (!world.isHealed) {
        this.runs += 1;
        await this.term(`${machine.name}_${this.runs}`);
      }
      // oxlint-enable no-await-in-loop
    }
    this.isGone = true;
  }

  /** Acquires under this identity, works and releases, once. */
  protected abstract term(identity: string): Promise<void>;

  protected say(what: () => string): void {
    this.world.timeline.add(this.machine.name, what);
  }
}

/** Counts what is held by another under a session, as this peer has just found it. */
export function countSession(
  { statistics }: World,
  kind: Peer['kind'],
  lease: StoredLease,
): void {
  if (uidOf(lease) !== undefined) {
    statistics.count(`locks under sessions that ${kind} met`);
  }
}

/** What a request failed with; a mistake of the simulation's own is none of the peer's business. */
export function requestFailure(error: unknown): LeaseStoreError {
  if (!(error instanceof LeaseStoreError)) {
    throw error;
  }
  return error;
}

/** MicroTime as Go writes it. */
export function microTimeOf(milliseconds: number): string {
  const micro = Math.floor(milliseconds * 1_000) % 1_000;
  const whole = Math.floor(milliseconds);
  return `${new Date(whole).toISOString().slice(0, -1)}${String(micro).padStart(3, '0')}Z`;
}
