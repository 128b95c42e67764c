/** R11: the place of this process in the line of a lock. It has at most one, which the head of the local queue uses. */
import type { StoredLease } from '../../kube/lease-store.js';
import type { Clock } from '../clock.js';
import { isHeldBy } from '../record/lease-record.js';
import {
  CROWDED,
  lineOf,
  MOST_TICKETS,
  positionOf,
  ticketKey,
  type Ticket,
} from '../record/line.js';
import { versionOf } from '../record/observed-lease.js';

/** A call within this time after a release makes the next release keep a place for a call that may follow. */
const AT_ONCE = 5;
/** How long the place that a release has kept waits for a call, in milliseconds. */
const LONGEST_VACANCY = 50;

/** Who has had the lock keeps a place in a crowded line as if it had waited outside, and had tried so often. */
const TRIES_OF_RELEASER = 3;

/** How long a refused patch counts, in milliseconds: an operator may grant the right meanwhile. */
const REFUSAL_COUNTS = 60_000;

/** The ticket of this process. */
export interface OwnTicket extends Ticket {
  /** The Lease in which it stands. */
  readonly uid: string;
  /** R11: the monotonic time at which it was sent. No record can have named its identity before. */
  readonly sentAt: number;
  /** Whether a record has shown the ticket: its request can't be applied any more. */
  hasLanded: boolean;
}

export class PlaceInLine {
  ticket: OwnTicket | undefined;
  /** The number of the next ticket, in this Lease: the last one was removed although its process waits, or found no room. */
  private kept: Pick<OwnTicket, 'uid' | 'number'> | undefined;
  /** Monotonic time until which this process does not try to patch the Lease. */
  private refusedUntil = -Infinity;
  /** Whether calls tend to follow at once upon a release. */
  private isInUse = false;
  private releasedAt = -Infinity;
  /** While this process waits outside the line: when it last found no room, and after how many tries. */
  private outside:
    { readonly since: number; readonly tries: number } | undefined;
  /** While the process has a place that no call uses. */
  private vacancy: { stop: () => void; leave: () => void } | undefined;

  /** @param closing aborts when the application begins to close: no place is kept any more */
  constructor(
    private readonly clock: Clock,
    private readonly closing: AbortSignal,
  ) {}

  /** R11: whether the API server lets this process patch the Lease, without which it can't be in line. */
  get isPermitted(): boolean {
    return this.clock.now() >= this.refusedUntil;
  }

  /** A patch of the Lease was permitted, or refused. */
  notePatch(isPermitted: boolean): void {
    this.refusedUntil = isPermitted
      ? -Infinity
      : this.clock.now() + REFUSAL_COUNTS;
  }

  /** A call gets its turn. */
  callBegins(): void {
    this.isInUse ||= this.clock.now() - this.releasedAt < AT_ONCE;
    this.endVacancy();
  }

  /** No call uses the place for the time being; `giveUp` is called if none comes soon. */
  awaitCaller(giveUp: () => void): void {
    this.endVacancy();
    const leave = (): void => {
      this.isInUse = false;
      this.endVacancy();
      giveUp();
    };
    const stop = this.clock.schedule(
      this.clock.now() + LONGEST_VACANCY,
      leave,
      { background: true },
    );
    this.vacancy = { stop, leave };
    if (this.closing.aborted) {
      leave();
    }
  }

  private endVacancy(): void {
    this.vacancy?.stop();
    this.vacancy = undefined;
  }

  /** The lock was released. */
  released(): void {
    this.releasedAt = this.clock.now();
  }

  /** The application is closing. */
  close(): void {
    this.vacancy?.leave();
  }

  /** Whether the releaser of the lock is to keep a place for a call that may follow. */
  get isWanted(): boolean {
    return this.isInUse && !this.closing.aborted;
  }

  /** The number of processes in line before this one; undefined without a place. */
  positionIn(lease: StoredLease): number | undefined {
    return positionOf(lease, this.ticket?.identity);
  }

  /** Whether other processes are in line. */
  hasOthers(lease: StoredLease): boolean {
    return lineOf(lease).some(
      ({ identity }) => identity !== this.ticket?.identity,
    );
  }

  /**
   * Whether this process may enrol. If not, it waits outside, and tries again after another read of the record. Each
   * try counts as one ticket less, and the number of its ticket is that of the first, so that those who have waited for
   * longest come first.
   */
  findRoom(lease: StoredLease): boolean {
    const { tries = 0 } = this.outside ?? {};
    const hasRoom = hasRoomIn(lease, tries);
    this.outside = hasRoom
      ? undefined
      : { since: this.clock.now(), tries: tries + 1 };
    if (!hasRoom) {
      this.kept = { uid: lease.metadata.uid, number: this.numberIn(lease) };
    }
    return hasRoom;
  }

  /**
   * Whether this process, which releases the lock, may keep a place: else it would leave no room to those outside. If
   * not, it waits outside from now on.
   */
  findRoomToStay(lease: StoredLease): boolean {
    const hasRoom = hasRoomIn(lease, TRIES_OF_RELEASER);
    this.outside = hasRoom ? undefined : { since: this.clock.now(), tries: 0 };
    return hasRoom;
  }

  /** The monotonic time at which this process last found no room in line, while it waits outside. */
  get outsideSince(): number | undefined {
    return this.outside?.since;
  }

  /** The ticket, if the record shows that it is in line, or is the holder. */
  standsIn(lease: StoredLease): boolean {
    const { ticket } = this;
    const stands =
      ticket !== undefined &&
      (this.waitsIn(lease) || isHeldBy(lease, ticket.identity));
    if (stands) {
      ticket.hasLanded = true;
    }
    return stands;
  }

  /** Whether the ticket is among those of the record. */
  waitsIn({ metadata }: StoredLease): boolean {
    const { ticket } = this;
    return (
      ticket?.uid === metadata.uid &&
      metadata.annotations?.[ticketKey(ticket)] !== undefined
    );
  }

  /** Uses this ticket, if it stands in the record, and the process has no other. */
  use(ticket: OwnTicket, lease: StoredLease): boolean {
    if (this.ticket !== undefined) {
      return false;
    }
    this.ticket = ticket;
    const stands = this.standsIn(lease);
    if (!stands) {
      this.ticket = undefined;
    }
    return stands;
  }

  /** The place is not needed any more: the lock was acquired, or no call waits for it. @returns its ticket */
  leave(): OwnTicket | undefined {
    const { ticket } = this;
    this.ticket = undefined;
    this.kept = undefined;
    this.outside = undefined;
    return ticket;
  }

  /**
   * The ticket is no place any more.
   *
   * @param lease the record as last observed; absent may mean that a watch has told late of the deletion of an earlier one
   * @returns the ticket, if it may stand in the record all the same, or its request may still be applied
   */
  wasRemoved(lease: StoredLease | null | undefined): OwnTicket | undefined {
    const { ticket } = this;
    this.kept = ticket ?? this.kept;
    this.ticket = undefined;
    return lease && ticket?.hasLanded ? undefined : ticket;
  }

  /** A9: the number of a new ticket. */
  numberIn(lease: StoredLease): bigint {
    return this.kept?.uid === lease.metadata.uid
      ? this.kept.number
      : versionOf(lease);
  }
}

/** Whether the line has room for a process that has found none so often. */
function hasRoomIn(lease: StoredLease, tries: number): boolean {
  return lineOf(lease).length < Math.min(CROWDED + tries, MOST_TICKETS);
}
