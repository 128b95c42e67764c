/** The planned fires of the job: which were run, what the record says of them, and whether that may be. */
import type { StoredLease } from '../../lib/kube/lease-store.js';
import type { FireClaim, ClaimEnd } from '../../lib/lock/record/fire-claim.js';
import type { AppliedWrite } from './api-model.js';
import type { Findings } from './findings.js';
import type { Holding, Holdings } from './holdings.js';
import type { Machine } from './machine.js';
import type { Statistics } from './statistics.js';
import type { Timeline } from './timeline.js';
import { holderOf, isOf, isRetained, specOf } from './write-judge.js';

/** The annotation in which a record remembers its claim. */
export const CLAIM = 'nestjs-k8s-lock/fire';

/** What a record says. */
interface RecordedClaim {
  readonly at: number;
  readonly end: string | undefined;
  /** Undefined: it was not made by an acquisition. */
  readonly by: string | undefined;
}

/** A fire that somebody has begun to run. */
interface Run {
  readonly holding: Holding;
  readonly claim: FireClaim;
  /** What the record is to say of it. */
  end: ClaimEnd;
  /** The work ended only after its closing process had given back the lock. */
  isLate: boolean;
  /** The record names another by now. Should it name this one again, a creation was late. */
  isGone: boolean;
  /** The record has said that it is done. */
  isKnownAsDone: boolean;
  /** When its own work ended, others worked on under its lock: a shutdown may have cut them short. */
  isShared: boolean;
  /** The renewTimes of the writes that were sent before the work was over. */
  readonly sentBeforeEnd: Set<string>;
}

export class Fires {
  /** By holder identity. */
  private readonly runs = new Map<string, Run>();
  /** With the versions of the records that were the first to say so. */
  private readonly recorded: (RecordedClaim & { version: bigint })[] = [];
  /** The versions of the writes by which what the record said was lost. */
  private readonly losses: bigint[] = [];
  private onBegin: ((holding: Holding) => void) | undefined;

  constructor(
    private readonly leaseName: string | undefined,
    private readonly findings: Findings,
    private readonly holdings: Holdings,
    private readonly timeline: Timeline,
    private readonly statistics: Statistics,
  ) {}

  /** Calls back when the next fire is begun. */
  onNextBegin(callback: (holding: Holding) => void): void {
    this.onBegin = callback;
  }

  /** Etcd was restored from a backup: what has been run is forgotten. */
  restored(): void {
    this.runs.clear();
  }

  /** A client begins to run a fire. */
  begun(holding: Holding, claim: FireClaim): void {
    this.statistics.count('fires run');
    this.timeline.add(
      holding.machine.name,
      () => `runs the fire of ${timeOf(claim.at)}`,
    );
    const { fencingToken, holderIdentity } = holding.handle;
    for (const run of this.runs.values()) {
      const other = run.holding.handle.fencingToken;
      const isForgotten = this.losses.some(
        (version) => version > other !== version > fencingToken,
      );
      const why = isForgotten
        ? undefined
        : this.whyNotAfter(run, claim, holding);
      if (why !== undefined) {
        this.findings.add(
          'fire-run-again',
          `${this.holdings.describe(holding)} runs the fire of ${timeOf(claim.at)} though ${this.holdings.describe(run.holding)} ${why}`,
        );
      }
      if (run.claim.at === claim.at) {
        this.statistics.count('fires run again');
      }
    }
    this.runs.set(holderIdentity, {
      holding,
      claim,
      end: 'begun',
      isLate: false,
      isShared: false,
      isGone: false,
      isKnownAsDone: false,
      sentBeforeEnd: new Set(),
    });
    const { onBegin } = this;
    this.onBegin = undefined;
    onBegin?.(holding);
  }

  /** The work is over. It counts as done unless it failed since its lock was gone or its process is closing. */
  ended(holding: Holding, isFailed = false): void {
    const { holdings } = this;
    const { handle, signal } = holding;
    const run = this.runs.get(handle.holderIdentity)!;
    run.end = isFailed && signal.aborted ? 'begun' : 'done';
    run.isShared = holding.inUse.size > 1;
    run.isLate =
      holdings.wasAskedToStop(holding) && !holdings.believes(holding);
  }

  /** A client does not run a fire since somebody else has claimed it. */
  skipped(
    machine: Machine,
    claim: FireClaim,
    state: 'taken' | 'claimed' | 'running' | 'own',
  ): void {
    this.statistics.count('fires skipped');
    const isRecorded = this.recorded.some(({ at, end }) =>
      at === claim.at
        ? end === 'done' ||
          (end === 'begun' && (!claim.retry || state === 'running')) ||
          (end === 'claimed' && state === 'claimed')
        : at > claim.at && at <= claim.latest,
    );
    // What a process has finished itself it knows before the record says so.
    const isFinished = [...this.runs.values()].some(
      (run) =>
        run.claim.at === claim.at &&
        run.end === 'done' &&
        run.holding.machine === machine,
    );
    if (!isRecorded && !isFinished) {
      this.findings.add(
        'fire-skipped-for-nobody',
        `${machine.name} skips the fire of ${timeOf(claim.at)} as ${state}, and no record has ever said so`,
      );
    }
  }

  /**
   * Whether the record has said that this very call begins a fire, and nobody has run it, nor claimed it or a
   * later one since.
   */
  isLeftBegun({ at, latest, ownIdentities }: FireClaim): boolean {
    const claims = this.recorded.filter((claim) => claim.at === at);
    const isOwn = ({ by = '' }: RecordedClaim): boolean =>
      ownIdentities.has(by);
    return (
      claims.some((claim) => claim.end === 'begun' && isOwn(claim)) &&
      isOwn(claims.at(-1)!) &&
      !this.recorded.some((other) => other.at > at && other.at <= latest) &&
      ![...this.runs.values()].some(({ claim }) => claim.at === at)
    );
  }

  /** A client has said that it begins a fire. It may have died since. */
  wasBegun(at: number): boolean {
    return this.recorded.some(
      (claim) => claim.at === at && claim.end === 'begun',
    );
  }

  /** A client has said that it begins a fire, and another has claimed a later one before the first has heard of it. */
  isOvertaken(at: number): boolean {
    return this.wasBegun(at) && this.recorded.some((claim) => claim.at > at);
  }

  /**
   * A client does not run a fire, nor wait for its end, since this holder has the lock. It may, if the holder was not to
   * run it in any record that the client has seen, the newest of which has version `newest`.
   */
  forsaken(
    machine: Machine,
    { at }: FireClaim,
    holder: string,
    newest: bigint,
  ): void {
    const isKnown = this.recorded.some(
      (claim) =>
        claim.by === holder && claim.at === at && claim.version <= newest,
    );
    if (isKnown) {
      this.findings.add(
        'fire-missed',
        `${machine.name} does not wait for what becomes of the fire of ${timeOf(at)} under ${this.timeline.nameOf(holder)}`,
      );
    }
  }

  /** A client sends a write that replaces a record. */
  replacing(lease: StoredLease): void {
    const run = this.runs.get(claimOf(lease)?.by ?? '');
    if (run?.end === 'begun') {
      run.sentBeforeEnd.add(lease.spec?.renewTime ?? '');
    }
  }

  /** A write was applied. */
  written(write: AppliedWrite): void {
    const { author, key, before, after, version } = write;
    if (key.name !== this.leaseName) {
      return;
    }
    const was = claimOf(before);
    const is = claimOf(after);
    const mayLose = after === undefined || author.kind === 'third-party';
    if (is && JSON.stringify(is) !== JSON.stringify(was)) {
      this.recorded.push({ ...is, version });
    }
    if (is?.end === 'done') {
      const run = this.runs.get(is.by ?? '');
      if (run?.claim.at === is.at) {
        run.isKnownAsDone = true;
      }
    }
    if (was && isLost(was, is)) {
      // A claim that nobody has made was that of a broken clock.
      if (!mayLose && was.by !== undefined) {
        this.accuse('claim-lost', write, 'it forgets what was claimed');
      }
      this.losses.push(version);
      this.statistics.count('claims lost');
    }
    if (author.kind === 'engine' && before && after && is) {
      this.judgeEnd(write, before, after, is);
    }
    if (
      was?.end === 'begun' &&
      is?.end === 'open' &&
      was.by === is.by &&
      was.at === is.at
    ) {
      this.accuse('claim-untrue', write, 'others have left it out since');
    }
    const run = this.runs.get(holderOf(before));
    if (run && holderOf(after) !== holderOf(before)) {
      run.isGone = true;
    }
  }

  /** This fire has been run. */
  expectRun(at: number): void {
    const runs = [...this.runs.values()];
    if (!runs.some(({ claim }) => claim.at === at)) {
      this.findings.add(
        'fire-missed',
        `nobody has run the fire of ${timeOf(at)} though nothing is wrong any more`,
      );
    }
  }

  /** Every fire since then whose process went in the middle has been run again, where it is to be; or a later one has. */
  expectRunAgain(since: number): void {
    const runs = [...this.runs.values()];
    for (const { claim, holding, end } of runs) {
      const hasGone =
        holding.machine.isDead || this.holdings.wasAskedToStop(holding);
      const { fencingToken } = holding.handle;
      const isMadeUpFor = runs.some(
        (other) =>
          other.claim.at > claim.at ||
          (other.claim.at === claim.at &&
            other.holding.handle.fencingToken > fencingToken),
      );
      if (
        claim.retry &&
        claim.at >= since &&
        end === 'begun' &&
        hasGone &&
        !isMadeUpFor
      ) {
        this.findings.add(
          'fire-missed',
          `nobody has run the fire of ${timeOf(claim.at)} again, which ${this.holdings.describe(holding)} did not finish`,
        );
      }
    }
  }

  /** Undefined: a fire may be begun although this one was. */
  private whyNotAfter(
    run: Run,
    claim: FireClaim,
    holding: Holding,
  ): string | undefined {
    if (run.claim.at > claim.at) {
      return `has run that of ${timeOf(run.claim.at)}`;
    }
    if (run.claim.at < claim.at) {
      return undefined;
    }
    if (!claim.retry) {
      return 'has run it';
    }
    if (run.isKnownAsDone) {
      return 'has finished it';
    }
    // It may have been taken from either by force, which that one is to learn only now.
    return holding.robbedAt === undefined && this.holdings.insists(run.holding)
      ? 'is still at it'
      : undefined;
  }

  /** What a process says of the work under an acquisition of its own is what became of it. */
  private judgeEnd(
    write: AppliedWrite,
    before: StoredLease,
    after: StoredLease,
    said: RecordedClaim,
  ): void {
    const from = holderOf(before);
    const to = holderOf(after);
    if (
      said.by !== from ||
      !isOf(from, write) ||
      (to === from && !isRetained(after)) ||
      specOf(before) === specOf(after) // a place in line
    ) {
      return;
    }
    const run = this.runs.get(from);
    if (run?.isGone) {
      return;
    }
    // Who takes over from an acquisition of the same process may have waited until it had expired.
    const isHandover = to !== from && to !== '';
    const knewOfEnd =
      run?.end === 'done' &&
      run.holding.minHold === 0 &&
      !run.sentBeforeEnd.has(after.spec?.renewTime ?? '');
    if (isHandover && !knewOfEnd) {
      return;
    }
    const truth = run?.end ?? 'open';
    // Its process was closed before it could know that the record said so.
    const isUnheard = run === undefined && claimOf(before)?.end === 'begun';
    if (said.end === 'begun' && isUnheard) {
      return;
    }
    const mayBeCut =
      run !== undefined &&
      (run.isLate ||
        (run.isShared && this.holdings.wasAskedToStop(run.holding)));
    if (said.end !== truth && !(mayBeCut && said.end === 'begun')) {
      this.accuse(
        'claim-untrue',
        write,
        `it says ${said.end}, which is ${truth}`,
      );
    }
  }

  private accuse(
    check: 'claim-lost' | 'claim-untrue',
    { author, before, after }: AppliedWrite,
    why: string,
  ): void {
    this.findings.add(
      check,
      `${author.name} changes the claim "${annotationOf(before)}" to "${annotationOf(after)}": ${why}`,
    );
  }
}

/** Whether a fire that was not to be run may be run by what the record says now. */
function isLost(was: RecordedClaim, is: RecordedClaim | undefined): boolean {
  return (
    is === undefined ||
    is.at < was.at ||
    (is.at === was.at && was.end === 'done' && is.end !== 'done')
  );
}

function claimOf(lease: StoredLease | undefined): RecordedClaim | undefined {
  const [time = '', end, , by] = annotationOf(lease).split(' ');
  return time === '' ? undefined : { at: Date.parse(time), end, by };
}

function annotationOf(lease: StoredLease | undefined): string {
  return lease?.metadata.annotations?.[CLAIM] ?? '';
}

function timeOf(at: number): string {
  return new Date(at).toISOString();
}
