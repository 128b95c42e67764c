/**
 * R11: a call in the line of waiting processes: whether it needs a place, how it gets and keeps one, when its turn
 * comes, and whether it may start under a grant.
 */
import {
  LeaseStoreError,
  type RequestOptions,
  type StoredLease,
} from '../../kube/lease-store.js';
import { reportFailure, type EngineContext } from '../engine-context.js';
import { deadlineOf, timingOf } from '../hold/deadline.js';
import { COURTESY } from '../lease/courtesy.js';
import type { LeaseWriter } from '../lease/lease-writer.js';
import type { LocalLease } from '../lease/local-lease.js';
import {
  expiryByWallClock,
  isForeign,
  isHeldBy,
  newHolderIdentity,
  readHolder,
} from '../record/lease-record.js';
import { grantOf, isLeftFree, lineOf } from '../record/line.js';
import type { Verdict } from '../record/observed-lease.js';
import type { AcquireCall } from './acquire-call.js';

/** How long the next in line waits for each process before it, in milliseconds. */
const STAGGER = 100;
/** A ticket that no record has shown after this time is sent again, in milliseconds. */
const TICKET_LANDS = 1_000;
/** A record that was observed longer ago gives no place in line, in milliseconds. */
const FRESH = 1_000;
/** A line of so many tickets may be that of a crowd. */
const LONG = 16;
/** The slowest poll of a process in line, and that of one whose watch tells of changes, in retry intervals. */
const SLOWEST_POLL = 5;
/** The same for one that is not told of what happens. */
const SLOWEST_UNWATCHED = 2;
/** That of a process outside the line, in milliseconds. */
const SLOWEST_OUTSIDE = 1_000;
/** A granted lock with less time left, or a smaller part of its grant, is confirmed before the work starts. */
const LEAST_TIME_LEFT = 500;
const LEAST_PART_LEFT = 0.25;

/** A lock that was granted. */
interface Granted {
  readonly lease: StoredLease;
  /** The monotonic time from which its deadline counts. */
  readonly sentAt: number;
  readonly grantDuration: number;
}

export class WaitingInLine {
  constructor(
    private readonly context: EngineContext,
    private readonly local: LocalLease,
    private readonly call: AcquireCall,
    private readonly writer: LeaseWriter,
  ) {}

  /** Uses the place that this process may have. @returns the monotonic time at which its ticket was sent, or at which it last found no room */
  usePlace(): number | undefined {
    const { place } = this.local;
    place.callBegins();
    if (place.ticket !== undefined) {
      this.call.useIdentity(place.ticket.identity);
    }
    return place.ticket?.sentAt ?? place.outsideSince;
  }

  /**
   * R7, R11: gives up the identity of a ticket that is not in line any more. The lock may have been granted to it,
   * and the grant may have lapsed, before this process could see it.
   */
  checkPlace(): void {
    const { context, call, writer } = this;
    const { observed, place } = this.local;
    const { ticket } = place;
    if (
      ticket === undefined ||
      (observed.lease && place.standsIn(observed.lease))
    ) {
      return;
    }
    const { landsBy = -Infinity } = this;
    const isGone = context.clock.now() >= landsBy;
    if (isGone || call.policy.verdict.takeable) {
      writer.loseTicket();
      call.useIdentity(newHolderIdentity(context.clientId));
    }
  }

  /** The monotonic time at which a ticket counts as lost, if no record has shown it yet. */
  get landsBy(): number | undefined {
    const { ticket } = this.local.place;
    return ticket && !ticket.hasLanded
      ? ticket.sentAt + TICKET_LANDS
      : undefined;
  }

  /**
   * R11, A37: whether this process needs a place in line, as the lock is held, or others are in line. Nobody enrols under
   * a holder that does not know the line: the release of some of these fails when the record has changed.
   */
  mustEnrol(verdict: Verdict): boolean {
    const { place, observed } = this.local;
    const { lease } = observed;
    if (
      !lease ||
      !this.call.policy.mayEnrol ||
      !place.isPermitted ||
      place.ticket !== undefined ||
      isForeign(lease)
    ) {
      return false;
    }
    const isNeeded =
      !verdict.takeable || (!isOwn(verdict) && place.hasOthers(lease));
    return isNeeded && place.findRoom(lease);
  }

  /** Whether the line has no room for this process, which then reads the record at each poll, and does not watch it. */
  get isOutside(): boolean {
    const { place } = this.local;
    return (
      place.outsideSince !== undefined &&
      place.ticket === undefined &&
      place.isPermitted &&
      this.call.policy.mayEnrol
    );
  }

  /** Whether many are in line, and perhaps many more about to be. */
  get isLong(): boolean {
    const { lease } = this.local.observed;
    return lease ? lineOf(lease).length >= LONG : false;
  }

  /** Whether the record is known well enough for a place, whose number is that of the record. */
  get isUpToDate(): boolean {
    const { clock } = this.context;
    return clock.now() - this.local.observed.lastLook < FRESH;
  }

  /**
   * Sends a ticket.
   *
   * @param failsIfOvertaken whether it fails if the record has changed. Otherwise the API server tries again until it
   * succeeds, which is work that grows with the square of a crowd that enrols at once
   * @returns `overtaken` if the Lease has changed meanwhile, `refused` without the right to patch
   * @throws LeaseStoreError
   */
  async enrol(
    options: RequestOptions,
    failsIfOvertaken: boolean,
  ): Promise<'enrolled' | 'overtaken' | 'refused'> {
    const { context, local, call } = this;
    const { observed, place } = local;
    const { lock } = call;
    const { leaseDuration } = call.options;
    const ticket = this.writer.newTicket(observed.lease!, leaseDuration);
    place.ticket = ticket;
    call.useIdentity(ticket.identity);
    try {
      const { resourceVersion } = observed.lease!.metadata;
      await local.enrol(
        ticket,
        options,
        failsIfOvertaken ? resourceVersion : undefined,
      );
      return 'enrolled';
    } catch (error) {
      if (!(error instanceof LeaseStoreError) || error.ambiguous) {
        throw error;
      }
      place.ticket = undefined;
      switch (error.reason) {
        case 'conflict':
        case 'not-found':
          return 'overtaken';
        case 'forbidden':
          reportFailure(context, lock, 'acquire', error);
          return 'refused';
        default:
          throw error;
      }
    }
  }

  /**
   * The retry intervals from one look to the next: more far from the front, and while the watch tells of changes.
   * Outside, nothing else tells of room.
   */
  get intervalsOfPoll(): number {
    const { observed, place } = this.local;
    if (this.isOutside) {
      return Math.min(1, SLOWEST_OUTSIDE / this.call.options.retryInterval);
    }
    if (this.local.isToldOfChanges) {
      return SLOWEST_POLL;
    }
    const position = observed.lease && place.positionIn(observed.lease);
    const slowest = this.local.isWatched ? SLOWEST_POLL : SLOWEST_UNWATCHED;
    return Math.min(1 + (position ?? 0), slowest);
  }

  /**
   * Whether a call in line that sleeps until this monotonic time must look at the record: it is not just another turn
   * of others, or that turn may end before.
   */
  concerns(lease: StoredLease, until: number): boolean {
    const { claim, policy } = this.call;
    const { verdict } = policy;
    return (
      claim !== undefined ||
      verdict.takeable ||
      (verdict.expiresAt ?? Infinity) < until ||
      !this.local.place.waitsIn(lease) ||
      isForeign(lease)
    );
  }

  /** R11: gives up a lock that was granted to this process, and goes back to the end of the line. */
  passOn(): void {
    this.writer.leaveLine();
    this.call.useIdentity(newHolderIdentity(this.context.clientId));
  }

  /**
   * R11, A35: the lock that was granted to this process. Its deadline counts from a time before the grant was
   * written: nobody could name the identity before its ticket was sent, and a later read has shown an older record. A
   * grant that was written long after it was sent is older in the eyes of k8slock (R3), and so to be confirmed sooner.
   *
   * @returns undefined if there is no grant, or if it must be confirmed first
   */
  startGranted(): Granted | undefined {
    const { local, call } = this;
    const { lease } = local.observed;
    const { ticket } = local.place;
    const { identity } = call.policy;
    if (ticket?.identity !== identity || !isHeldBy(lease, identity)) {
      return undefined;
    }
    const state = readHolder(lease);
    const duration = (state.held && state.duration) || 0;
    const { clock } = this.context;
    const { aliveAt } = local.observed.judge(identity);
    const span = deadlineOf(0, timingOf(duration, call.options));
    const deadline = Math.min(
      Math.max(ticket.sentAt, aliveAt) + span,
      expiryByWallClock(lease, clock) - call.options.safetyMargin,
    );
    // A renewal would shorten a grant that an earlier call of this process has enrolled for, and its answer may be lost.
    const isLonger = duration > call.options.leaseDuration;
    return !isLonger && deadline - clock.now() >= leastTimeLeft(duration)
      ? { lease, sentAt: deadline - span, grantDuration: duration }
      : undefined;
  }

  /** A10: the monotonic time from which this process may take a free or expired lock: its turn among those in line. */
  turnAt(verdict: Verdict & { takeable: true }): number {
    const { observed, place, courtesy } = this.local;
    const { lease } = observed;
    if (!lease || isOwn(verdict) || !this.call.policy.waits) {
      return -Infinity;
    }
    const position =
      place.positionIn(lease) ?? (place.isPermitted ? lineOf(lease).length : 0);
    const open = place.isPermitted && isLeftFree(lease) ? COURTESY : 0;
    const turn = verdict.since + open + position * Math.max(STAGGER, open);
    return Math.max(courtesy.freeUntil, position > 0 || open > 0 ? turn : 0);
  }

  /** The lock was acquired, from this record. */
  acquired(
    verdict: Verdict & { takeable: true },
    record: StoredLease | null | undefined,
  ): void {
    const { place, courtesy } = this.local;
    const granted = record && grantOf(record);
    place.leave();
    courtesy.acquired(
      isOwn(verdict) ? (granted?.inRow ?? courtesy.inRow) : undefined,
    );
  }
}

function leastTimeLeft(duration: number): number {
  return Math.min(LEAST_TIME_LEFT, duration * LEAST_PART_LEFT);
}

/** Whether the record names the caller itself, or a caller of this process that has ended. */
function isOwn(verdict: Verdict & { takeable: true }): boolean {
  return !verdict.free && !verdict.expired;
}
