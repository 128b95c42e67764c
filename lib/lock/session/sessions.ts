/** R12: the sessions that an engine knows: its own, under which it holds locks, and those of other holders. */
import type { ResolvedLockOptions } from '../../k8s-lock.options.js';
import type { EngineContext } from '../engine-context.js';
import type { SessionOpener } from '../hold/held-session.js';
import { LocalLease } from '../lease/local-lease.js';
import type { StoredLease } from '../../kube/lease-store.js';
import {
  askToLookAt,
  sessionOf,
  type ObservableSession,
  type SessionReference,
} from '../record/session.js';
import { ObservedSession } from './observed-session.js';
import { SessionKeeper } from './session-keeper.js';

/** The number of sessions that are remembered without a watched lock. */
const MOST_REMEMBERED = 100;

export class Sessions {
  private readonly observed = new Map<string, ObservedSession>();
  private readonly keepers = new Map<string, SessionKeeper>();

  /** @param timing the options of the session of this process; undefined if each lock is renewed */
  constructor(
    private readonly context: EngineContext,
    private readonly timing: ResolvedLockOptions | undefined,
  ) {}

  /** The session under which a lock with these options is held; undefined if the lock is renewed itself. */
  openerFor(
    namespace: string,
    { autoRenew, ...options }: ResolvedLockOptions,
  ): SessionOpener | undefined {
    const { timing } = this;
    const isCovered =
      timing !== undefined &&
      autoRenew &&
      options.leaseDuration === timing.leaseDuration &&
      options.renewInterval === timing.renewInterval &&
      options.safetyMargin === timing.safetyMargin;
    if (!isCovered) {
      return undefined;
    }
    let keeper = this.keepers.get(namespace);
    if (keeper === undefined) {
      keeper = new SessionKeeper(this.context, namespace, timing);
      this.keepers.set(namespace, keeper);
    }
    return keeper;
  }

  /** The session under which the holder of a lock of this namespace holds it. */
  find(namespace: string, session: SessionReference): ObservableSession {
    const id = `${namespace}/${session.name}/${session.uid}`;
    const known = this.observed.get(id);
    if (known !== undefined) {
      return known;
    }
    const { context } = this;
    const { name } = session;
    const local = new LocalLease(context, { name, namespace, leaseName: name });
    const own = this.keepers.get(namespace)?.find(session.uid);
    const observed = new ObservedSession(context, session, local, own);
    this.observed.set(id, observed);
    this.forgetUnobserved();
    return observed;
  }

  /** Has the holder of a record that was evicted look at it, if it is held under a session. Never rejects. */
  async tellHolder(namespace: string, evicted: StoredLease): Promise<void> {
    const { store, requestTimeout } = this.context;
    const session = sessionOf(evicted);
    if (session) {
      const { name } = session;
      // If that fails, the holder looks when its turn comes.
      await store
        .patch({ namespace, name }, askToLookAt(session, evicted), {
          timeout: requestTimeout,
          priority: 'release',
        })
        .catch(() => undefined);
    }
  }

  /** Ends what waits for a session of this process, since the application is closing. */
  beginClosing(): void {
    this.keepers.forEach((keeper) => keeper.beginClosing());
  }

  /** Ends the sessions of this process. Never rejects. */
  async close(): Promise<void> {
    await Promise.all(
      Array.from(this.keepers.values(), (keeper) => keeper.close()),
    );
  }

  private forgetUnobserved(): void {
    for (const [id, { isObserved }] of this.observed) {
      if (this.observed.size <= MOST_REMEMBERED) {
        return;
      }
      if (!isObserved) {
        this.observed.delete(id);
      }
    }
  }
}
