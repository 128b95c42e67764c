/** The invariants between events: what clients believe, the tokens they have, and what those are worth. */
import type { LeaseKey, StoredLease } from '../../lib/kube/lease-store.js';
import { LockLostError } from '../../lib/lock.errors.js';
import type { Findings } from './findings.js';
import type { LockHandle } from '../../lib/lock/hold/lock-handle.js';
import type { Holding, Holdings } from './holdings.js';
import type { Machine } from './machine.js';
import { CLOCK_RATES } from './scenario.js';
import type { Scheduler } from './scheduler.js';
import type { Statistics } from './statistics.js';
import type { Timeline } from './timeline.js';
import { durationOf, type WriteJudge } from './write-judge.js';

/** Milliseconds: what is lost in adding and dividing times. */
const ROUNDING = 0.01;

/** Lease durations within which a holder under a session notices that its lock was taken by force or deleted. */
const SESSION_PATIENCE = 4;

/** Something that remembers the greatest token it was shown, and refuses smaller ones. */
interface FencedRegister {
  greatest: bigint;
  /** The version of the write by which its last writer acquired the lock. */
  lastWriter: bigint;
}

export class Checker {
  private readonly registers = new Map<string, FencedRegister>();
  /** By Lease: when each holder acquired, as the API server saw it, and its token. */
  private readonly grants = new Map<
    string,
    { order: bigint; token: bigint }[]
  >();
  private readonly believers = new Map<string, Holding>();
  /** By the name of the lock or semaphore. */
  private readonly holders = new Map<string, number>();

  constructor(
    private readonly scheduler: Scheduler,
    private readonly findings: Findings,
    private readonly holdings: Holdings,
    private readonly judge: WriteJudge,
    private readonly timeline: Timeline,
    private readonly statistics: Statistics,
    /** Milliseconds until a client has heard of a change, at most, if it hears of it at all. */
    private readonly longestDelay: number,
    /** Of a lock or semaphore, at a time. */
    private readonly mostHolders: number,
  ) {}

  /** A client has acquired a lock. */
  acquired(holding: Holding): void {
    const { holdings, findings, judge } = this;
    const { handle, signal } = holding;
    holdings.add(holding);
    this.timeline.add(
      holding.machine.name,
      () =>
        `acquired ${handle.leaseName} as ${this.timeline.nameOf(handle.holderIdentity)}, token ${handle.fencingToken}`,
    );
    const order = judge.orderOfAcquisition(
      handle.holderIdentity,
      handle.fencingToken,
    );
    if (order === undefined) {
      findings.add(
        'token-out-of-order',
        `${holdings.describe(holding)} has the token ${handle.fencingToken}, which no write of its has made`,
      );
      return;
    }
    if (judge.wasRobbed(order)) {
      holding.robbedAt = this.scheduler.now;
    }
    const grants = this.grants.get(handle.leaseName) ?? [];
    for (const other of grants) {
      if (other.order < order !== other.token < handle.fencingToken) {
        findings.add(
          'token-out-of-order',
          `${holdings.describe(holding)} acquired at ${order} with the token ${handle.fencingToken}, another at ${other.order} with ${other.token}`,
        );
      }
    }
    this.grants.set(handle.leaseName, [
      ...grants,
      { order, token: handle.fencingToken },
    ]);
    const onLoss = (): void => this.lost(holding);
    if (signal.aborted) {
      onLoss();
    } else {
      signal.addEventListener('abort', onLoss, { once: true });
    }
  }

  /** Versions count from a lower one again, and tokens with them. */
  restored(): void {
    this.registers.clear();
    this.grants.clear();
  }

  /** Work under a lock borrows it: it is another that believes in it. */
  borrowed(holding: Holding, handle: LockHandle): void {
    holding.inUse.set(handle, handle.signal);
    this.statistics.count('locks borrowed');
    this.timeline.add(
      holding.machine.name,
      () =>
        `borrows ${this.timeline.nameOf(handle.holderIdentity)} of ${handle.leaseName}`,
    );
  }

  /** A client is about to give a lock back, or a handle that it has borrowed. */
  released(holding: Holding, handle = holding.handle): void {
    this.holdings.released(holding, handle);
    const { size } = holding.inUse;
    this.timeline.add(
      holding.machine.name,
      () =>
        `releases ${this.timeline.nameOf(handle.holderIdentity)} of ${handle.leaseName}${size > 0 ? `, which ${size} more share` : ''}`,
    );
  }

  /** A client has been told to close: everything under a lock has been asked to stop in that very moment. */
  closing(machine: Machine): void {
    this.holdings.beginClosing(machine);
    for (const holding of this.holdings.current()) {
      if (holding.machine === machine) {
        this.mustBeAsked(holding);
      }
    }
  }

  /** A client gets a lock although it closes: work that it may not leave out is begun, and asked to stop. */
  acquiredWhileClosing(holding: Holding): void {
    this.mustBeAsked(holding);
  }

  private mustBeAsked(holding: Holding): void {
    for (const [handle, signal] of holding.inUse) {
      if (!signal.aborted) {
        this.findings.add(
          'not-asked-to-stop',
          `${this.holdings.describe(holding)} holds ${handle.leaseName} in a process that closes, and nobody has told it`,
        );
      }
    }
  }

  /** A write of a holder arrives at a register that is fenced by tokens. */
  writeRegister(holding: Holding): void {
    const { leaseName, fencingToken, holderIdentity } = holding.handle;
    const order =
      this.judge.orderOfAcquisition(holderIdentity, fencingToken) ?? 0n;
    const register = this.registers.get(leaseName) ?? {
      greatest: 0n,
      lastWriter: 0n,
    };
    if (fencingToken < register.greatest) {
      this.statistics.count('stale writes refused');
      return;
    }
    if (order < register.lastWriter) {
      this.findings.add(
        'stale-write-accepted',
        `the register of ${leaseName} accepted a write from ${this.holdings.describe(holding)}, which acquired it before its last writer did`,
      );
    }
    this.registers.set(leaseName, {
      greatest: fencingToken,
      lastWriter: order,
    });
  }

  /** A client sends a write that replaces a record. */
  replacing({ name }: LeaseKey, lease: StoredLease, basedOn?: bigint): void {
    const { holdings } = this;
    const identity = lease.spec?.holderIdentity ?? '';
    const holding = holdings.get(identity);
    // What a process was about to send when it was paused, it sends.
    if (holding === undefined || holding.machine.isFrozen) {
      return;
    }
    // Else it makes this one the holder: without the right to patch, a lock is granted by PUT.
    const wasHolder =
      basedOn === undefined ||
      this.judge.orderOfAcquisition(identity, basedOn) !== undefined;
    const isRenewal = wasHolder && !this.judge.hasSeen(lease.spec?.renewTime);
    const isGivenBack = holding.isReleased || holdings.wasAskedToStop(holding);
    const mayKeepTaken = isGivenBack && holding.minHold > 0;
    // R12: after `maxHold` it leaves the session, which is renewed for others.
    if (holding.hasSession && durationOf(lease) !== Infinity) {
      return;
    }
    if (isRenewal && !mayKeepTaken && !holdings.believes(holding)) {
      this.findings.add(
        'renewed-after-end',
        `${holdings.describe(holding)} is over and sends another renewal of ${name}`,
      );
    }
  }

  /**
   * A client does not wait for a lock since its holder is alive. It may have heard of the last sign of
   * life up to a lease's time late, and be right to believe in it for as long again.
   */
  skipped(client: string, leaseName: string, holder: string): void {
    const silence = this.judge.silenceOf(leaseName, holder);
    const limit = (2 * (silence?.duration ?? 0)) / CLOCK_RATES.slowest;
    if (silence && silence.age > limit + this.longestDelay) {
      this.findings.add(
        'skipped-for-the-dead',
        `${client} skips ${leaseName} for ${this.timeline.nameOf(holder)}, silent for ${silence.age.toFixed(0)} ms of ${silence.duration} ms`,
      );
    }
  }

  /** Between events. */
  check(): void {
    const { believers, holders, holdings, findings, scheduler } = this;
    believers.clear();
    holders.clear();
    for (const holding of holdings.current()) {
      if (holding.robbedAt !== undefined) {
        this.checkRobbed(holding, holding.robbedAt);
      } else if (holdings.insists(holding)) {
        const { leaseName, name } = holding.handle;
        const other = believers.get(leaseName);
        if (other) {
          findings.add(
            'two-holders',
            `${leaseName} is held by ${holdings.describe(other)} and ${holdings.describe(holding)}`,
          );
        }
        believers.set(leaseName, holding);
        const count = (holders.get(name) ?? 0) + 1;
        holders.set(name, count);
        if (count > this.mostHolders) {
          findings.add(
            'too-many-holders',
            `${name} has ${count} holders, with ${holdings.describe(holding)}, and ${this.mostHolders} permits at most`,
          );
        }
        const expiry = this.judge.expiryOf(holding);
        if (scheduler.now > expiry + ROUNDING) {
          findings.add(
            'outlived-lease',
            `${holdings.describe(holding)} believes that it holds ${leaseName}, ${(scheduler.now - expiry).toFixed(2)} ms after others could have taken it`,
          );
        }
      }
    }
  }

  /** A process says that this acquisition has it lead, and it may have been paused until just now. */
  leads(holding: Holding): void {
    const { handle, machine } = holding;
    if (holding.robbedAt !== undefined) {
      return;
    }
    const late = machine.now - this.judge.expiryOf(holding);
    if (!this.judge.isHolder(handle) || late > ROUNDING) {
      this.findings.add(
        'leads-no-more',
        `${this.holdings.describe(holding)} says that it leads, though ${late > 0 ? `others could have taken the lock ${late.toFixed(2)} ms ago` : 'the record is another’s'}`,
      );
    }
  }

  private checkRobbed(holding: Holding, robbedAt: number): void {
    const { leaseDuration, machine } = holding;
    if (leaseDuration === Infinity || machine.isFrozen) {
      return;
    }
    // Under a session the failure of its looks does not cost it the lock.
    const patience = holding.hasSession ? SESSION_PATIENCE : 1;
    const latest = robbedAt + (patience * leaseDuration) / CLOCK_RATES.slowest;
    if (this.scheduler.now > latest && this.holdings.believes(holding)) {
      this.findings.add(
        'loss-unnoticed',
        `${this.holdings.describe(holding)} was robbed at ${robbedAt.toFixed(2)} ms and still believes`,
      );
    }
  }

  private lost(holding: Holding): void {
    const { handle, signal } = holding;
    const { reason } = signal;
    const why =
      reason instanceof LockLostError ? reason.reason : String(reason);
    this.statistics.count('losses');
    this.timeline.add(
      holding.machine.name,
      () =>
        `${this.timeline.nameOf(handle.holderIdentity)} of ${handle.leaseName} is over: ${why}`,
    );
    if (why === 'session' && !this.judge.hasLostSession(handle)) {
      this.findings.add(
        'lost-without-cause',
        `${this.holdings.describe(holding)} lost ${handle.leaseName} with its session, which nobody has touched`,
      );
    }
    const isByOthers = ['taken', 'freed', 'deleted'].includes(why);
    if (isByOthers && !this.judge.wasDisplaced(handle.holderIdentity)) {
      this.findings.add(
        'lost-without-cause',
        `${this.holdings.describe(holding)} lost ${handle.leaseName} as ${why}, though nobody has touched its record`,
      );
    }
  }
}
