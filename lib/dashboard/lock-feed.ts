/** Feeds all browsers from one watch, which runs while there are any, and evicts holders for them. */
import { Logger } from '@nestjs/common';
import { explanationOf, type LockReference } from '../lock.errors.js';
import { quote } from '../printable.js';
import type { LockClient } from '../lock.client.js';
import type { LockService } from '../lock.service.js';
import { describeLocks } from '../lock/lock-engine.js';
import {
  BrowserStream,
  formatEvent,
  isGone,
  type StreamResponse,
} from './browser-stream.js';
import type { ResolvedView } from './dashboard.options.js';
import { keyOf, podOf } from './lock-view.js';
import { TrackedLocks } from './tracked-locks.js';

/** Changes are sent together at most this often, in milliseconds. */
const FLUSH = 200;
/** Fires are looked for this often, in milliseconds. */
const LOOK = 1_000;
/** Looks without news after which browsers are told that the connection is alive. */
const BEAT = 10;
const MOST_BROWSERS = 100;

/** A scheduled method, and its next fire. */
interface PlanView {
  readonly label: string;
  /** The name of the Lease, if it is known. */
  readonly id?: string;
  readonly next?: number;
}

/** Whether changes arrive. */
interface WatchState {
  readonly state: 'starting' | 'live' | 'failed';
  readonly message?: string;
}

/** What became of a request to evict a holder. */
export type Eviction =
  | { readonly outcome: 'evicted'; readonly pod: string }
  | { readonly outcome: 'changed' | 'unknown' };

export class LockFeed {
  private readonly logger = new Logger('K8sLockDashboard');
  private readonly browsers = new Set<BrowserStream>();
  private readonly tracked: TrackedLocks;
  private readonly events: { unsubscribe(): void };
  private watch?: { close(): void };
  private watchState: WatchState = { state: 'starting' };
  private namespace = '';
  private plans = '';
  private looks = 0;
  private timer?: NodeJS.Timeout;
  private flushing?: NodeJS.Timeout;
  private isClosed = false;

  constructor(
    locks: LockService,
    private readonly client: LockClient,
    private readonly options: ResolvedView,
  ) {
    const startedAt = Date.now() - process.uptime() * 1_000;
    this.tracked = new TrackedLocks(client, startedAt);
    this.events = locks.events$.subscribe((event) => {
      this.tracked.note(event);
      this.flushSoon();
    });
  }

  /** How many browsers are connected. */
  get size(): number {
    return this.browsers.size;
  }

  get mayConnect(): boolean {
    return !this.isClosed && this.browsers.size < MOST_BROWSERS;
  }

  connect(response: StreamResponse): void {
    if (isGone(response)) {
      return; // it left while a guard decided
    }
    const browser = new BrowserStream(
      response,
      () => this.snapshot(),
      () => {
        this.browsers.delete(browser);
        if (this.browsers.size === 0) {
          this.stop();
        }
      },
    );
    this.browsers.add(browser);
    if (this.browsers.size === 1) {
      this.start();
    }
    if (this.watchState.state !== 'starting') {
      browser.sendSnapshot(this.snapshot());
    }
  }

  /**
   * Evicts the holder with this key, if it still holds the lock.
   *
   * @param by who asked for it, for the log
   * @throws LockBackendError, LockConfigurationError
   */
  async evict(id: string, key: string, by: string): Promise<Eviction> {
    const { namespace } = await this.locate();
    const reference: LockReference = { name: id, namespace, leaseName: id };
    const lease = await this.client.engine.read(reference);
    const [state] = lease
      ? describeLocks([lease], this.client.leaseNameOf)
      : [];
    if (state === undefined || !this.client.hasPrefix(id)) {
      return { outcome: 'unknown' };
    }
    if (state.state !== 'held' || keyOf(state.holder) !== key) {
      return { outcome: 'changed' };
    }
    const lock = { ...reference, name: state.name };
    const evicted = await this.client.engine.forceRelease(lock, state.holder);
    if (evicted === undefined) {
      return { outcome: 'changed' };
    }
    this.logger.warn(
      `Lock ${quote(state.name)} (Lease ${namespace}/${id}) was released by force from the dashboard: ${quote(state.holder)} held it. Asked for by ${by}`,
    );
    return { outcome: 'evicted', pod: podOf(state.holder) };
  }

  /** Ends all streams, for which a closing HTTP server would wait. */
  close(): void {
    this.isClosed = true;
    this.events.unsubscribe();
    for (const browser of this.browsers) {
      browser.close();
    }
    this.stop();
  }

  private start(): void {
    this.setState({ state: 'starting' });
    this.timer = setInterval(() => this.look(), LOOK).unref();
    void this.open();
  }

  private stop(): void {
    clearInterval(this.timer);
    clearTimeout(this.flushing);
    this.flushing = undefined;
    if (this.watch) {
      this.watch.close();
      this.watch = undefined;
      this.tracked.interrupt();
    }
    this.watchState = { state: 'starting' };
  }

  /** Never rejects. */
  private async open(): Promise<void> {
    try {
      const { namespace } = await this.locate();
      if (this.browsers.size === 0 || this.watch) {
        return;
      }
      this.namespace = namespace;
      this.watch = this.client.watchAll(namespace, {
        listed: (leases) => {
          this.tracked.list(leases);
          this.tracked.takeChanges();
          this.watchState = { state: 'live' };
          const snapshot = this.snapshot();
          this.browsers.forEach((browser) => browser.sendSnapshot(snapshot));
        },
        changed: (lease) => {
          this.tracked.see(lease);
          this.flushSoon();
        },
        deleted: (name) => {
          this.tracked.forget(name);
          this.flushSoon();
        },
        resumed: () => this.setState({ state: 'live' }),
        failed: (error) => this.fail(error),
      });
    } catch (error) {
      this.fail(error);
    }
  }

  private async locate(): Promise<LockReference> {
    const { namespace } = this.options;
    return (await this.client.resolve('any', { namespace })).lock;
  }

  private fail(error: unknown): void {
    // The explanation of an error of this package names no secret.
    this.setState({ state: 'failed', message: explanationOf(error) });
  }

  private setState(state: WatchState): void {
    this.watchState = state;
    this.sendAll(formatEvent('watch', state));
  }

  private flushSoon(): void {
    if (this.browsers.size > 0 && this.watch) {
      this.flushing ??= setTimeout(() => this.flush(), FLUSH).unref();
    }
  }

  private flush(): void {
    this.flushing = undefined;
    const changes = this.tracked.takeChanges();
    if (changes.length > 0) {
      this.sendAll(formatEvent('changes', { now: Date.now(), changes }));
    }
  }

  private look(): void {
    const plans = this.findPlans();
    const text = JSON.stringify(plans);
    this.looks += 1;
    if (text !== this.plans) {
      this.plans = text;
      this.sendAll(formatEvent('plans', { now: Date.now(), plans }));
    } else if (this.looks % BEAT === 0) {
      this.sendAll(formatEvent('beat', { now: Date.now() }));
    }
  }

  private findPlans(): PlanView[] {
    const now = Date.now();
    return this.client.methods.flatMap(({ label, name, options, nextFire }) => {
      const isHere = (options.namespace ?? this.namespace) === this.namespace;
      if (nextFire === undefined || !isHere) {
        return [];
      }
      const next = nextFire(now);
      return [
        {
          label,
          ...(name !== undefined && { id: this.client.leaseNameOf(name) }),
          ...(Number.isFinite(next) && { next }),
        },
      ];
    });
  }

  private snapshot(): string {
    const { namespace } = this;
    const { allowForceRelease, title } = this.options;
    return formatEvent('snapshot', {
      now: Date.now(),
      namespace,
      title,
      allowForceRelease,
      watch: this.watchState,
      left: this.tracked.left,
      locks: this.tracked.views(namespace),
      plans: this.findPlans(),
    });
  }

  private sendAll(event: string): void {
    for (const browser of this.browsers) {
      browser.send(event);
    }
  }
}
