/** The state that all callers of this process share for one Lease: observed record, queue, watch and holder. */
import {
  LeaseStoreError,
  type Lease,
  type LeaseKey,
  type LeasePatch,
  type LeaseStore,
  type Made,
  type RequestOptions,
  type StoredLease,
} from '../../kube/lease-store.js';
import type { LockReference } from '../../lock.errors.js';
import { waitUntil } from '../abort-signals.js';
import type { Clock } from '../clock.js';
import { reportFailure, type EngineContext } from '../engine-context.js';
import { ObservedLease, versionOf } from '../record/observed-lease.js';
import { patchOf, removalOf } from '../record/lease-patch.js';
import {
  isForeign,
  isStoredAs,
  withoutManagedFields,
} from '../record/lease-record.js';
import type { OwnTicket } from './place-in-line.js';
import {
  hasWakes,
  isFor,
  selectorFor,
  tagOf,
  ticketAnnotation,
  ticketKey,
  withWakes,
} from '../record/line.js';
import { Courtesy } from './courtesy.js';
import type { ObservableSession, SessionReference } from '../record/session.js';
import { LocalQueue } from './local-queue.js';
import { PlaceInLine } from './place-in-line.js';

/** How long a watch stays open after its last use, in milliseconds: contenders come back. */
const WATCH_LINGERS = 1_000;

/** A record that was written. */
export interface WrittenLease {
  readonly lease: StoredLease;
  /** R8: the monotonic time at which the write was SENT. */
  readonly sentAt: number;
}

/** Listens to observations of the record, and to the progress of the caller that has the turn. */
export interface RecordListener {
  recordSeen(lease: StoredLease): void;
  recordGone(): void;
  /** R11: the record has changed, and the watch does not tell how. */
  sightLost?(): void;
  /** The caller that has the turn has acquired the lock. */
  lockTaken?(): void;
  /** A request of the caller that has the turn failed. */
  turnFailed?(): void;
}

export class LocalLease {
  readonly key: LeaseKey;
  readonly observed: ObservedLease;
  readonly queue = new LocalQueue();
  readonly place: PlaceInLine;
  readonly courtesy: Courtesy;
  /** The holder in this process, until its release begins or the lock is lost. */
  holder: string | undefined;
  /** The number of consecutive handovers between callers of this process. */
  handovers = 0;
  /** Releases the record of a holder that has handed over to a waiter, in case that waiter gives up. */
  endHandover: (() => void) | undefined;
  /** The last failure of the caller that has the turn, unless something newer is known of the lock. */
  failure: LeaseStoreError | undefined;
  /** Whether the caller that has the turn waits for a holder of the lock. */
  hasMetHolder = false;
  private readonly store: LeaseStore;
  private readonly clock: Clock;
  private requests = 0;
  private readonly listeners = new Set<RecordListener>();
  private watch: { close(): void } | undefined;
  private watchers = 0;
  /** What the watch in use has told since it opened or failed: the state that it found, or a change after that. */
  private told: 'nothing' | 'state' | 'change' = 'nothing';
  /** R11: the watch in use tells only of records that are for the process with this tag. */
  private watchedAs: string | undefined;
  /** R11: whether such a watch does not tell of the record, which may be another by now. */
  private isOutOfSight = false;
  /** R12: the session of the holder, while that is another process and the Lease is watched. */
  private observedSession:
    { session: ObservableSession; end: () => void } | undefined;
  private cancelLinger: (() => void) | undefined;

  /** @param findSession finds the session of a holder of this Lease; undefined for a Lease that is itself a session */
  constructor(
    private readonly context: EngineContext,
    private readonly lock: LockReference,
    findSession?: (session: SessionReference) => ObservableSession,
  ) {
    const { store, clock } = context;
    this.key = { namespace: lock.namespace, name: lock.leaseName };
    this.store = store;
    this.clock = clock;
    this.observed = new ObservedLease(clock, findSession);
    this.place = new PlaceInLine(clock, context.closing);
    this.courtesy = new Courtesy(clock);
  }

  /** Whether no caller uses this object, so that it can be dropped. */
  get isIdle(): boolean {
    return (
      !this.queue.isOccupied &&
      this.watchers === 0 &&
      this.watch === undefined &&
      this.listeners.size === 0
    );
  }

  /** Whether a request about the record is in flight. */
  get isAsking(): boolean {
    return this.requests > 0;
  }

  /** Whether the record is kept current by a watch. */
  get isWatched(): boolean {
    return this.watch !== undefined && !this.isOutOfSight;
  }

  /** A28: whether a change of the record is likely to be told; a watch without the right to it never tells anything. */
  get isTold(): boolean {
    return (
      this.isWatched && this.told !== 'nothing' && this.watchedAs === undefined
    );
  }

  /** Whether the watch has told of a change, so that nothing on the way keeps changes back; for a session, that of its Lease. */
  get isToldOfChanges(): boolean {
    return (
      this.isTold &&
      (this.told === 'change' ||
        this.observed.session?.isToldOfChanges === true)
    );
  }

  /** A2: records an observation from a read, a write or the watch. @returns the record as it is to be written back */
  see(
    found: StoredLease,
    how: { live?: boolean; askedAt?: number } = {},
  ): StoredLease {
    const lease = withoutManagedFields(found); // they are half of it
    if (this.observed.see(lease, how)) {
      const { watchedAs: tag } = this;
      const isTold = how.live !== undefined || tag === undefined;
      this.isOutOfSight = !isTold && !isFor(lease, tag);
      if (isForeign(lease)) {
        this.courtesy.sawPeer();
      }
      this.observeSession();
      for (const listener of this.listeners) {
        listener.recordSeen(lease);
      }
    }
    return lease;
  }

  /** Records an answer, which can't be older than what was known when its request was sent, unless etcd was restored from a backup. */
  private seeAnswer(
    lease: StoredLease,
    newest: bigint,
    how?: { askedAt: number },
  ): StoredLease {
    if (versionOf(lease) < newest) {
      this.observed.forget();
    }
    return this.see(lease, how);
  }

  /** Records that the Lease does not exist. */
  seeAbsent(how: { askedAt?: number } = {}): void {
    this.observed.seeAbsent(how);
    this.observeSession();
    for (const listener of this.listeners) {
      listener.recordGone();
    }
  }

  /** A5: reads the record from the API server; null if there is none. */
  async read(options: RequestOptions): Promise<StoredLease | null> {
    const { newest } = this.observed;
    const askedAt = this.clock.now();
    const lease = await this.ask(this.store.get(this.key, options));
    if (lease === undefined) {
      this.seeAbsent({ askedAt });
      return null;
    }
    return this.seeAnswer(lease, newest, { askedAt });
  }

  /**
   * R1: replaces the record by the result of `make`, which is derived from it. `make` is called when the
   * request is sent.
   *
   * @throws LeaseStoreError
   */
  replace(
    make: () => StoredLease,
    options: RequestOptions,
  ): Promise<WrittenLease> {
    return this.write(make, (made) =>
      this.store.replace(this.key, made, options),
    );
  }

  /**
   * R1, R11: changes the record if it still names the holder of `before`, whatever annotations others have
   * written in between.
   *
   * @throws LeaseStoreError
   */
  change(
    before: StoredLease,
    make: () => StoredLease,
    options: RequestOptions,
  ): Promise<WrittenLease> {
    return this.write(make, (made) =>
      this.patch(
        () => ({ type: 'json', operations: patchOf(before, made()) }),
        options,
      ),
    );
  }

  /**
   * R11: adds a ticket, which changes no spec.
   *
   * @param resourceVersion `conflict` if this is not the version of the record; undefined: any will do
   * @throws LeaseStoreError
   */
  async enrol(
    ticket: OwnTicket,
    options: RequestOptions,
    resourceVersion?: string,
  ): Promise<void> {
    const annotations = ticketAnnotation(ticket);
    const { newest } = this.observed;
    const askedAt = this.clock.now();
    const body = {
      metadata: { uid: ticket.uid, resourceVersion, annotations },
    };
    const lease = await this.ask(this.patch({ type: 'merge', body }, options));
    // Something on the way may remove annotations.
    const stands =
      lease.metadata.annotations?.[ticketKey(ticket)] !== undefined;
    if (stands) {
      this.seeAnswer(lease, newest, { askedAt });
    }
    ticket.hasLanded = stands;
    this.place.notePatch(stands);
  }

  /** R11: removes a ticket; `conflict` if it does not stand in the record. @throws LeaseStoreError */
  async removeTicket(
    ticket: OwnTicket,
    options: RequestOptions,
  ): Promise<void> {
    const operations = removalOf(ticketKey(ticket), ticket.uid);
    this.see(await this.ask(this.patch({ type: 'json', operations }, options)));
  }

  /** Without the right to patch, this process can't be in line. */
  private async patch(
    patch: Made<LeasePatch>,
    options: RequestOptions,
  ): Promise<StoredLease> {
    try {
      return await this.store.patch(this.key, patch, options);
    } catch (error) {
      if (error instanceof LeaseStoreError && error.reason === 'forbidden') {
        this.place.notePatch(false);
      }
      throw error;
    }
  }

  /** R1: creates the record. @throws LeaseStoreError */
  create(make: () => Lease, options: RequestOptions): Promise<WrittenLease> {
    return this.write(make, (made) =>
      this.store.create(this.key, made, options),
    );
  }

  /** R9: deletes the record if it is unchanged, or throws. @returns whether it is gone */
  async delete(lease: StoredLease, options: RequestOptions): Promise<boolean> {
    const { uid, resourceVersion } = lease.metadata;
    const isGone = await this.ask(
      this.store.delete(this.key, { uid, resourceVersion }, options),
    );
    if (isGone) {
      this.seeAbsent();
    }
    return isGone;
  }

  /** A6: an answer that differs from the written record does not show the present record, so it counts as ambiguous. */
  private async write<T extends Lease>(
    make: () => T,
    send: (made: () => T) => Promise<StoredLease>,
  ): Promise<WrittenLease> {
    const { newest } = this.observed;
    let sent: T | undefined;
    let sentAt = -Infinity;
    const request = send(() => {
      sentAt = this.clock.now();
      sent = withWakes(make());
      return sent;
    });
    const written = await this.ask(request);
    if (sent === undefined || !isStoredAs(written, sent)) {
      throw new LeaseStoreError(
        'server',
        `Can't write Lease ${this.key.namespace}/${this.key.name}: the API server answered with success, but with a record other than the written one. Check the proxies between this process and the API server, and which admission webhooks change Leases.`,
        { ambiguous: true },
      );
    }
    return { lease: this.seeAnswer(written, newest), sentAt };
  }

  private async ask<T>(request: Promise<T>): Promise<T> {
    this.requests += 1;
    try {
      return await request;
    } finally {
      this.requests -= 1;
    }
  }

  /** A caller gets the turn; the known state is that of the callers before it. */
  beginTurn(): void {
    this.failure = undefined;
    this.hasMetHolder = false;
  }

  /** The caller that has the turn has found a holder of the lock. */
  metHolder(): void {
    this.failure = undefined;
    this.hasMetHolder = true;
  }

  /** A request of the caller that has the turn failed. */
  fail(error: LeaseStoreError): void {
    this.failure = error;
    for (const listener of this.listeners) {
      listener.turnFailed?.();
    }
  }

  /** Adds a listener; returns a function that removes it. */
  listen(listener: RecordListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Resolves on the next observation that concerns the caller, or after `delay`; rejects with the signal's reason. */
  changeOrTime(
    delay: number,
    signal: AbortSignal,
    concerns: (lease: StoredLease) => boolean = () => true,
  ): Promise<void> {
    return waitUntil((done) => {
      const cancelTimer = this.clock.schedule(this.clock.now() + delay, done);
      const unlisten = this.listen({
        recordSeen: (lease) => {
          if (concerns(lease)) {
            done();
          }
        },
        recordGone: done,
      });
      return () => {
        cancelTimer();
        unlisten();
      };
    }, signal);
  }

  /**
   * Watches the Lease until the returned function is called, or for a moment longer (`linger`).
   *
   * @param inLine whether the watch may be limited as {@link watchInLine} says
   */
  keepWatched(inLine = false): (linger?: boolean) => void {
    this.watchers += 1;
    this.cancelLinger?.();
    if (this.watch === undefined || !inLine) {
      this.watchAs(undefined);
    }
    this.observeSession();
    let kept = true;
    return (linger = false) => {
      if (!kept) {
        return;
      }
      kept = false;
      this.watchers -= 1;
      this.cancelLinger?.();
      if (linger && !this.context.closing.aborted) {
        const { clock } = this;
        this.cancelLinger = clock.schedule(
          clock.now() + WATCH_LINGERS,
          () => this.stopWatching(),
          { background: true },
        );
      } else {
        this.stopWatching();
      }
    };
  }

  /** R11: limits the watch to the records that are for this process, which is in line, if nobody else uses the watch. */
  watchInLine(): void {
    const { observed, place, watchers } = this;
    const { lease } = observed;
    const isEnough =
      watchers === 1 && lease && place.waitsIn(lease) && hasWakes(lease);
    this.watchAs(isEnough ? tagOf(place.ticket!.identity) : undefined);
  }

  private watchAs(tag: string | undefined): void {
    const { lease } = this.observed;
    if (this.watch !== undefined && this.watchedAs === tag) {
      return;
    }
    this.watch?.close();
    this.watchedAs = tag;
    this.told = 'nothing';
    this.isOutOfSight = tag !== undefined && !isFor(lease!, tag);
    this.watch = this.store.watch(
      this.key,
      {
        changed: (seen, live) => {
          this.noteTold(live);
          this.see(seen, { live });
        },
        deleted: () => {
          this.noteTold(false);
          this.seeAbsent();
        },
        unselected: (version) => this.loseSight(version),
        failed: (error) => {
          this.told = 'nothing';
          reportFailure(this.context, this.lock, 'watch', error);
        },
      },
      tag === undefined
        ? undefined
        : {
            labelSelector: selectorFor(tag),
            from: lease!.metadata.resourceVersion,
          },
    );
  }

  private noteTold(live: boolean): void {
    if (live) {
      this.told = 'change';
    } else if (this.told === 'nothing') {
      this.told = 'state';
    }
  }

  /** A38: the record may be gone, or for others. What it was is no news. */
  private loseSight(version: string): void {
    if (BigInt(version) > this.observed.newest) {
      this.isOutOfSight = true;
      for (const listener of this.listeners) {
        listener.sightLost?.();
      }
    }
  }

  /** R12: a watched Lease whose holder has a session needs to know of that session, too. */
  private observeSession(): void {
    const session = this.watchers > 0 ? this.observed.session : undefined;
    if (session !== this.observedSession?.session) {
      this.observedSession?.end();
      this.observedSession = session && {
        session,
        end: session.observe(() => this.sessionSeen()),
      };
    }
  }

  private sessionSeen(): void {
    const { lease } = this.observed;
    if (lease) {
      for (const listener of this.listeners) {
        listener.recordSeen(lease);
      }
    }
  }

  private stopWatching(): void {
    this.cancelLinger?.();
    if (this.watchers === 0) {
      this.watch?.close();
      this.watch = undefined;
      this.told = 'nothing';
      this.watchedAs = undefined;
      this.isOutOfSight = false;
      this.observeSession();
    }
  }

  /** The application is closing: nothing is kept for calls that may follow. */
  close(): void {
    this.place.close();
    this.stopWatching();
  }

  /** The caller that has the turn has acquired the lock. */
  heldBy(identity: string): void {
    this.holder = identity;
    this.failure = undefined;
    for (const listener of this.listeners) {
      listener.lockTaken?.();
    }
  }

  /** Ends the present turn. */
  leave(): void {
    this.holder = undefined;
    if (!this.queue.hasWaiters) {
      this.handovers = 0;
      this.endHandover?.();
      this.endHandover = undefined;
    }
    this.queue.leave();
  }

  /** Whether the lock must be left free for a moment, for clients that do not know the line. */
  get isCourtesyDue(): boolean {
    return this.courtesy.isDue(this.place.isPermitted);
  }

  /** Whether other processes are in line. */
  get hasOthersInLine(): boolean {
    const { lease } = this.observed;
    return lease ? this.place.hasOthers(lease) : false;
  }
}
