/** A watch as a store keeps it up: it lags, repeats itself, tells old news, breaks and starts over. */
import type {
  LeaseKey,
  LeaseObserver,
  StoredLease,
  WatchSelection,
} from '../../lib/kube/lease-store.js';
import { parseSelectors, type Selects } from '../../lib/testing/selectors.js';
import type { AppliedWrite, ApiModel } from './api-model.js';
import type { Machine } from './machine.js';
import type { Network } from './network.js';
import type { Random } from './random.js';
import type { Scheduler } from './scheduler.js';

/** How likely a change meets what, in each watch. */
export interface WatchFaults {
  /** Watches do not work, as without the right to. */
  isForbidden: boolean;
  /** Milliseconds by which changes come late, at most. */
  longestLag: number;
  broken: number;
  repeated: number;
  /** Something that was so before is told again. */
  stale: number;
  readonly random: Random;
}

/** Milliseconds until a broken watch has noticed it and connects anew. */
const SHORTEST_GAP = 50;
export const LONGEST_GAP = 10_000;
/** Milliseconds until one without the right to watch tries again. */
const RETRY_OF_FORBIDDEN = 1_000;

export class SimulatedWatch {
  private readonly deliveries = new Set<{ cancel(): void }>();
  private readonly unsubscribe: () => void;
  /** Earlier states, to tell again. */
  private readonly past: (StoredLease | undefined)[] = [];
  /** Undefined: it tells everything. */
  private readonly selects: Selects | undefined;
  private isConnected = false;
  private isClosed = false;
  /** Nothing overtakes what was sent before it. */
  private lastArrival = 0;

  constructor(
    private readonly surroundings: {
      readonly scheduler: Scheduler;
      readonly api: ApiModel;
      readonly network: Network;
      readonly watchFaults: WatchFaults;
    },
    private readonly machine: Machine,
    private readonly key: LeaseKey,
    private readonly observer: LeaseObserver,
    selection: WatchSelection | undefined,
    private readonly onClose: () => void,
  ) {
    this.selects = selection && parseSelectors(selection.labelSelector, null);
    this.unsubscribe = surroundings.api.subscribe((write) =>
      this.written(write),
    );
    this.connectAfter(0);
  }

  close(): void {
    if (!this.isClosed) {
      this.isClosed = true;
      this.unsubscribe();
      for (const delivery of this.deliveries) {
        delivery.cancel();
      }
      this.onClose();
    }
  }

  /** Lists, and follows from there. */
  private connectAfter(delay: number): void {
    const { scheduler, api, network, watchFaults } = this.surroundings;
    if (this.machine.isDead) {
      return;
    }
    const at = this.machine.now + delay + network.latency();
    scheduler.at(at, () => {
      if (this.isClosed || this.isConnected) {
        return;
      }
      if (watchFaults.isForbidden) {
        this.connectAfter(RETRY_OF_FORBIDDEN);
        return;
      }
      if (network.isDisturbed(this.machine.name, scheduler.now)) {
        this.connectAfter(watchFaults.random.between(500, 2_000));
        return;
      }
      this.isConnected = true;
      this.report(api.get(this.key), api.version, false);
    });
  }

  private written({ key, before, after, version }: AppliedWrite): void {
    if (key.name !== this.key.name || key.namespace !== this.key.namespace) {
      return;
    }
    this.past.push(before);
    if (!this.isConnected || this.machine.isDead) {
      return;
    }
    const { network, scheduler, watchFaults } = this.surroundings;
    const { random } = watchFaults;
    if (
      network.isDisturbed(this.machine.name, scheduler.now) ||
      random.chance(watchFaults.broken)
    ) {
      this.isConnected = false;
      this.connectAfter(random.magnitude(SHORTEST_GAP, LONGEST_GAP));
      return;
    }
    // A change between two records that are not selected is no news.
    if (this.isTold(before) || this.isTold(after)) {
      this.report(after, version, true);
      if (random.chance(watchFaults.repeated)) {
        this.report(after, version, true);
      }
    }
    if (random.chance(watchFaults.stale)) {
      this.report(random.pick([...this.past, after]), version, true);
    }
  }

  private isTold(lease: StoredLease | undefined): boolean {
    return !this.selects || (lease !== undefined && this.selects(lease));
  }

  private report(
    lease: StoredLease | undefined,
    version: bigint,
    live: boolean,
  ): void {
    const { scheduler, network, watchFaults } = this.surroundings;
    const lag = watchFaults.random.between(0, watchFaults.longestLag);
    this.lastArrival = Math.max(
      this.lastArrival,
      scheduler.now + network.latency() + lag,
    );
    const delivery = this.machine.deliver(this.lastArrival, 'arrival', () => {
      this.deliveries.delete(delivery);
      if (this.selects && !this.isTold(lease)) {
        this.observer.unselected?.(String(version));
      } else if (lease === undefined) {
        this.observer.deleted();
      } else {
        this.observer.changed(lease, live);
      }
    });
    this.deliveries.add(delivery);
  }
}
