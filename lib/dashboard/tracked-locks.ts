/** What was seen of the locks of a namespace since the process started: their last states, holds and fires, in bounded memory. */
import type { StoredLease } from '../kube/lease-store.js';
import { printable } from '../printable.js';
import type { LockClient } from '../lock.client.js';
import type { LockEvent } from '../lock.events.js';
import { isLine } from '../lock/lease-name.js';
import { describeLocks, describeSessions } from '../lock/lock-engine.js';
import { isLock } from '../lock/record/lease-record.js';
import {
  describeLock,
  type HeldLockState,
  type LockState,
  type SessionState,
} from '../lock/record/lock-state.js';
import {
  keyOf,
  podOf,
  type FireView,
  type HoldView,
  type LockView,
  type RenewalView,
} from './lock-view.js';

/** Holds of a lock that are kept. */
const MOST_HOLDS = 24;
/** Fires of a lock that are kept. */
const MOST_FIRES = 8;
/** Leases that are shown. */
const MOST_LEASES = 5_000;
/** Locks whose fires in this process are kept, and holders whose method is known. */
const MOST_NOTES = 2_000;
/** Places in line that are shown. */
const MOST_WAITING = 64;

type Kind = LockView['kind'];

/** What a held lock and an open session have in common. */
type Held = Pick<
  HeldLockState,
  'holder' | 'since' | 'renewedAt' | 'leaseDuration'
>;

interface Tracked {
  readonly kind: Kind;
  state: LockState | SessionState;
  /** All that is shown except the renewals, to tell one from another change. */
  mark: string;
  holder: string | undefined;
  renewedAt: number | undefined;
  seenAt: number;
  renewals: number;
  readonly holds: HoldView[];
}

/** What has changed since it was last asked for, by the name of the Lease. */
export type Change =
  LockView | { id: string; gone: true } | { renewed: RenewalView };

export class TrackedLocks {
  private readonly tracked = new Map<string, Tracked>();
  private readonly fires = new Map<string, Map<number, FireView>>();
  /** The methods of holders of this process. */
  private readonly methods = new Map<string, string>();
  private readonly changed = new Map<string, 'renewed' | 'changed' | 'gone'>();
  /** The Leases that are not shown, since there are too many. */
  private readonly leftOut = new Set<string>();

  constructor(
    private readonly client: LockClient,
    /** When this process started. */
    private readonly startedAt: number,
    private readonly now: () => number = Date.now,
  ) {}

  /** How many Leases are not shown, since there are too many. */
  get left(): number {
    return this.leftOut.size;
  }

  /** All Leases, at the start of a watch and after a gap in it. */
  list(leases: readonly StoredLease[]): void {
    const names = new Set(leases.map(({ metadata }) => metadata.name));
    for (const id of this.tracked.keys()) {
      if (!names.has(id)) {
        this.forget(id);
      }
    }
    this.leftOut.clear();
    for (const lease of leases) {
      this.see(lease, false);
    }
  }

  /** @param isLive whether it changed just now */
  see(lease: StoredLease, isLive = true): void {
    const id = lease.metadata.name;
    const seen = this.read(lease);
    if (seen === undefined) {
      this.forget(id);
      return;
    }
    const { kind, state } = seen;
    const before = this.tracked.get(id);
    if (before === undefined && this.tracked.size >= MOST_LEASES) {
      this.leftOut.add(id);
      return;
    }
    this.leftOut.delete(id);
    const now = this.now();
    const held = heldOf(state);
    const holder = held?.holder;
    const renewedAt = held?.renewedAt?.getTime();
    const mark = keyOf(JSON.stringify(state, omitTimes));
    const isSame = before?.kind === kind && before.holder === holder;
    const isRenewed = isSame && before.renewedAt !== renewedAt;
    const next: Tracked = {
      kind,
      state,
      mark,
      holder,
      renewedAt,
      seenAt:
        isSame && !isRenewed
          ? before.seenAt
          : isLive
            ? now
            : Math.min(renewedAt ?? now, now),
      renewals: isSame ? before.renewals + (isRenewed && isLive ? 1 : 0) : 0,
      holds: before?.holds ?? [],
    };
    this.tracked.set(id, next);
    const since = held?.since?.getTime() ?? now;
    this.noteHold(next, isLive ? now : Math.min(since, now), now);
    this.noteClaim(id, state, now);
    if (before?.mark !== mark || !isSame) {
      this.touch(id, 'changed');
    } else if (isRenewed) {
      this.touch(id, 'renewed');
    }
  }

  forget(id: string): void {
    this.leftOut.delete(id);
    if (this.tracked.delete(id)) {
      this.touch(id, 'gone');
    }
  }

  /** The watch has ended: what is held now is not seen any more. */
  interrupt(): void {
    const now = this.now();
    for (const { holds } of this.tracked.values()) {
      const last = holds.at(-1);
      if (last !== undefined) {
        last.to ??= now;
      }
    }
    this.changed.clear();
  }

  /** An event of the locks of this process. */
  note(event: LockEvent): void {
    const { leaseName: id, type } = event;
    if (type === 'acquired' && event.method !== undefined) {
      limit(this.methods);
      this.methods.set(event.holder, printable(event.method));
      this.touchIfTracked(id);
    }
    if (!('fire' in event) || event.fire === undefined) {
      return;
    }
    const at = event.fire.getTime();
    const fire = this.fireOf(id, at);
    if (at < this.startedAt) {
      fire.caughtUp = true;
    }
    if (type === 'acquired') {
      fire.here = 'running';
    } else if (type === 'executed') {
      fire.here = 'ran';
    } else if (type === 'failed') {
      fire.here = 'failed';
    } else if (type === 'skipped') {
      fire.here = 'skipped';
      fire.why = event.reason;
      fire.pod ??= event.holder === undefined ? undefined : podOf(event.holder);
    }
    this.touchIfTracked(id);
  }

  /** Everything, with the known locks that have no Lease yet. */
  views(namespace: string): LockView[] {
    const views = Array.from(this.tracked.keys(), (id) => this.viewOf(id)!);
    const missing = new Map<string, LockView>();
    for (const { name, options } of this.client.methods) {
      if (name === undefined) {
        continue;
      }
      const id = this.client.leaseNameOf(name);
      const isHere = (options.namespace ?? namespace) === namespace;
      if (isHere && !this.tracked.has(id)) {
        missing.set(id, this.absent(id, name));
      }
    }
    return [...views, ...missing.values()];
  }

  /** What has changed since the last call. */
  takeChanges(): Change[] {
    const changes = Array.from(this.changed, ([id, what]): Change => {
      const tracked = this.tracked.get(id);
      if (tracked === undefined) {
        return { id, gone: true };
      }
      return what === 'renewed'
        ? {
            renewed: { id, seenAt: tracked.seenAt, renewals: tracked.renewals },
          }
        : this.viewOf(id)!;
    });
    this.changed.clear();
    return changes;
  }

  private read(
    lease: StoredLease,
  ): { kind: Kind; state: LockState | SessionState } | undefined {
    const [session] = describeSessions([lease]);
    if (session !== undefined) {
      return { kind: 'session', state: session };
    }
    const { name: leaseName, namespace = '' } = lease.metadata;
    if (!isLock(lease) || !this.client.hasPrefix(leaseName)) {
      return undefined;
    }
    if (isLine(leaseName)) {
      const line = { name: leaseName, namespace, leaseName };
      return { kind: 'line', state: describeLock(line, lease) };
    }
    const [lock] = describeLocks([lease], this.client.leaseNameOf);
    return lock && { kind: 'lock', state: lock };
  }

  private noteHold(
    { holder, holds, kind }: Tracked,
    from: number,
    now: number,
  ): void {
    if (kind !== 'lock') {
      return;
    }
    const last = holds.at(-1);
    const isLast = last !== undefined && holderOf.get(last) === holder;
    if (isLast) {
      delete last.to; // after a gap
      return;
    }
    if (last !== undefined) {
      last.to ??= now;
    }
    if (holder !== undefined) {
      const method = this.methods.get(holder);
      const hold: HoldView = {
        pod: podOf(holder),
        from: Math.max(from, last?.to ?? 0),
        ...(method !== undefined && { method }),
      };
      holderOf.set(hold, holder);
      holds.push(hold);
      holds.splice(0, holds.length - MOST_HOLDS);
    }
  }

  private noteClaim(
    id: string,
    state: LockState | SessionState,
    now: number,
  ): void {
    if (!('fire' in state) || state.fire === undefined) {
      return;
    }
    const { at, by, state: claim } = state.fire;
    const fire = this.fireOf(id, at.getTime());
    const isInterrupted = claim === 'begun' && by !== heldOf(state)?.holder;
    fire.state = isInterrupted ? 'interrupted' : claim;
    if (by !== undefined) {
      fire.pod = podOf(by);
    }
    fire.seenAt ??= now;
  }

  private fireOf(id: string, at: number): FireView {
    let fires = this.fires.get(id);
    if (fires === undefined) {
      limit(this.fires);
      fires = new Map();
      this.fires.set(id, fires);
    }
    const fire = fires.get(at) ?? { at };
    fires.set(at, fire);
    if (fires.size > MOST_FIRES) {
      fires.delete(Math.min(...fires.keys()));
    }
    return fire;
  }

  private viewOf(id: string): LockView | undefined {
    const tracked = this.tracked.get(id);
    if (tracked === undefined) {
      return undefined;
    }
    const { kind, state, seenAt, renewals, holds } = tracked;
    const isLockState = 'transitions' in state;
    const name = isLockState ? state.name : id;
    const held = heldOf(state);
    const method = held && this.methods.get(held.holder);
    const lock = state.state === 'held' ? state : undefined;
    return {
      id,
      kind,
      name: printable(name),
      ...(isLockState &&
        state.permits !== undefined && {
          slot: state.slot ?? 0,
          permits: state.permits,
        }),
      exists: true,
      ...(held && {
        holder: {
          key: keyOf(held.holder),
          identity: printable(held.holder),
          pod: podOf(held.holder),
          foreign: lock?.foreign ?? false,
          granted: lock?.granted ?? false,
          seenAt,
          renewals,
          ...(method !== undefined && { method }),
          ...(held.since && { since: held.since.getTime() }),
          ...(held.leaseDuration !== undefined && {
            leaseDuration: held.leaseDuration,
          }),
          ...(lock?.session !== undefined && { session: lock.session }),
        },
      }),
      waiting: (isLockState ? state.waiting : [])
        .slice(0, MOST_WAITING)
        .map(({ holder }) => ({
          pod: podOf(holder),
          identity: printable(holder),
        })),
      transitions: isLockState ? state.transitions : 0,
      methods: this.methodsOf(name),
      fires: this.firesOf(id),
      holds,
    };
  }

  private absent(id: string, name: string): LockView {
    return {
      id,
      kind: 'lock',
      name: printable(name),
      exists: false,
      waiting: [],
      transitions: 0,
      methods: this.methodsOf(name),
      fires: this.firesOf(id),
      holds: [],
    };
  }

  private methodsOf(name: string): string[] {
    const found = this.client.methods.filter((each) => each.name === name);
    return [...new Set(found.map(({ label }) => printable(label)))];
  }

  private firesOf(id: string): FireView[] {
    return [...(this.fires.get(id)?.values() ?? [])].toSorted(
      (a, b) => b.at - a.at,
    );
  }

  private touchIfTracked(id: string): void {
    if (this.tracked.has(id)) {
      this.touch(id, 'changed');
    }
  }

  private touch(id: string, what: 'renewed' | 'changed' | 'gone'): void {
    if (what !== 'renewed' || !this.changed.has(id)) {
      this.changed.set(id, what);
    }
  }
}

/** The whole identity of a hold, which is not shown. */
const holderOf = new WeakMap<HoldView, string>();

function heldOf(state: LockState | SessionState): Held | undefined {
  if (!('holder' in state) || state.holder === undefined) {
    return undefined;
  }
  const { holder, since, renewedAt, leaseDuration } = state;
  return { holder, since, renewedAt, leaseDuration };
}

/** For JSON.stringify(): leaves out what every write changes. */
function omitTimes(key: string, value: unknown): unknown {
  return ['renewedAt', 'until', 'version'].includes(key) ? undefined : value;
}

/** Makes room for one more: the oldest goes. */
function limit(map: Map<unknown, unknown>): void {
  if (map.size >= MOST_NOTES) {
    for (const [oldest] of map) {
      map.delete(oldest);
      return;
    }
  }
}
