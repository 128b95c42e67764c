/** A caller in a simulated process, which acquires locks, works under them and releases them; and what it must be granted. */
import { getEventListeners, setMaxListeners } from 'node:events';
import { resolveLockOptions } from '../../lib/k8s-lock.options.js';
import {
  LockBackendError,
  LockLostError,
  LockNotAcquiredError,
  type LockReference,
} from '../../lib/lock.errors.js';
import { acquireAndBegin } from '../../lib/lock/acquire/begin-work.js';
import {
  FireClaimedError,
  type FireClaim,
} from '../../lib/lock/record/fire-claim.js';
import { LONGEST_WRITE } from '../../lib/lock/retry.js';
import { HeldLock, type LockHandle } from '../../lib/lock/hold/lock-handle.js';
import type { LockEngine } from '../../lib/lock/lock-engine.js';
import type { LocalLease } from '../../lib/lock/lease/local-lease.js';
import type { FireCall } from './fire-calls.js';
import { holdingOf, type Holding } from './holdings.js';
import { TIMER_LATENESS, type Machine } from './machine.js';
import type { Random } from './random.js';
import type { CallPlan } from './call-plan.js';
import type { World } from './world.js';

/** Milliseconds of true time within which a cancelled wait must have ended. */
const AT_ONCE = 0.001;
/** Milliseconds until most of what was sent has arrived. */
const A_MOMENT = 50;
/** Milliseconds between the moments at which those end who end together. */
const TOGETHER = 500;

export class Caller {
  private readonly waits = new Set<AbortController>();
  /** Work that has borrowed a lock, and that nobody waits for. */
  private borrowers = 0;

  constructor(
    private readonly world: World,
    private readonly machine: Machine,
    private readonly engine: LockEngine,
    private readonly random: Random,
  ) {
    // Each wait listens to it, and there may be many at once.
    setMaxListeners(0, engine['closing'].signal);
  }

  get isLending(): boolean {
    return this.borrowers > 0;
  }

  /**
   * Acquires, works, releases.
   *
   * @returns whether it was acquired
   */
  async fulfil(plan: CallPlan): Promise<boolean> {
    const holding = await this.hold(plan);
    if (holding === undefined) {
      return false;
    }
    await this.work(holding, plan);
    this.world.checker.released(holding);
    const released = holding.handle.release();
    if (!plan.isHasty) {
      await released;
    }
    return true;
  }

  /** Acquires so many permits that it has them all at once. @returns whether it has got them */
  async fill(plan: CallPlan, permits: number): Promise<boolean> {
    const holdings = await Promise.all(
      Array.from({ length: permits }, () => this.hold(plan)),
    );
    const held = holdings.filter((holding) => holding !== undefined);
    await Promise.all(
      held.map((holding) => {
        this.world.checker.released(holding);
        return holding.handle.release();
      }),
    );
    return held.length === permits;
  }

  /** Does so as a decorated method that its scheduler calls. */
  async runFire(plan: CallPlan & { claim: FireClaim }): Promise<void> {
    const { calls } = this.world;
    const call = calls.begin(this.machine, plan);
    const holding = await this.hold(plan, call);
    if (holding !== undefined) {
      await this.runFireUnder(holding, plan);
    }
    calls.end(call);
  }

  private async runFireUnder(
    holding: Holding,
    plan: CallPlan & { claim: FireClaim },
  ): Promise<void> {
    const { checker, fires } = this.world;
    fires.begun(holding, plan.claim);
    const isWhole = await this.work(holding, plan);
    const isFailed = !isWhole || plan.isFailing;
    if (isFailed && holding.signal.aborted) {
      holding.handle.endClaimAs('begun');
    }
    fires.ended(holding, isFailed);
    checker.released(holding);
    await holding.handle.release();
  }

  /** Cancels every wait. */
  loseInterest(): void {
    for (const wait of this.waits) {
      wait.abort();
    }
  }

  /** @returns whether it came to its end */
  private async work(
    holding: Holding,
    plan: CallPlan,
    handle = holding.handle,
  ): Promise<boolean> {
    const { work, endsTogether, endsAt, isStubborn, claim, isLending } = plan;
    const signal = holding.inUse.get(handle)!;
    const { checker, scheduler } = this.world;
    const { random, machine } = this;
    let mayLend = isLending === true;
    const end = machine.localTime() + work;
    const until =
      endsAt ?? (endsTogether ? Math.ceil(end / TOGETHER) * TOGETHER : end);
    while (machine.localTime() < until) {
      if (mayLend && random.chance(0.5)) {
        mayLend = false;
        this.lend(holding, plan, handle);
      }
      const left = until - machine.localTime();
      // oxlint-disable-next-line no-await-in-loop -- work takes its time
      await machine.sleep(Math.min(left, random.magnitude(5, 1_000)) + 0.01);
      if (signal.aborted && !isStubborn) {
        return false;
      }
      if (this.world.isHealed && claim === undefined) {
        return true;
      }
      // The register is somewhere else, too.
      scheduler.at(machine.now + random.magnitude(0.3, 2_000), () =>
        checker.writeRegister(holding),
      );
    }
    return true;
  }

  /** As `withLock` does for the same lock inside of its work, or a method that calls another of the same name. */
  private lend(holding: Holding, plan: CallPlan, handle: LockHandle): void {
    const { random } = this;
    if (!handle.isHeld) {
      return; // refused, as the lock was lost
    }
    const borrowed = handle.lend();
    this.world.checker.borrowed(holding, borrowed);
    this.borrowers += 1;
    void this.borrow(holding, borrowed, {
      ...plan,
      // Shorter than the work that it is a part of, or not waited for by it.
      work: plan.work * random.magnitude(0.05, 2),
      isStubborn: random.chance(plan.isStubborn ? 0.5 : 0.1),
      isLending: random.chance(0.3),
    });
  }

  private async borrow(
    holding: Holding,
    borrowed: LockHandle,
    plan: CallPlan,
  ): Promise<void> {
    await this.work(holding, plan, borrowed);
    this.world.checker.released(holding, borrowed);
    await borrowed.release();
    this.borrowers -= 1;
  }

  private async hold(
    plan: CallPlan,
    call?: FireCall,
  ): Promise<Holding | undefined> {
    const handle = await this.acquire(plan, call);
    if (handle === undefined) {
      return undefined;
    }
    const options = resolveLockOptions(plan.options);
    const { signal } = handle;
    const holding = holdingOf(handle, this.machine, { signal, options });
    if (handle.slot !== undefined && handle.slot > 0) {
      this.world.statistics.count('permits beside others');
    }
    this.world.checker.acquired(holding);
    if (this.isClosing) {
      this.world.checker.acquiredWhileClosing(holding);
    }
    return holding;
  }

  private async acquire(
    plan: CallPlan,
    call: FireCall | undefined,
  ): Promise<LockHandle | undefined> {
    const { lock, mode, cancelAfter, claim } = plan;
    const { timeline, statistics, findings } = this.world;
    const { name } = this.machine;
    let taken: LockHandle | undefined;
    const controller = new AbortController();
    const { signal } = controller;
    const startedAt = this.machine.localTime();
    if (cancelAfter !== undefined) {
      void this.machine.sleep(cancelAfter).then(() => controller.abort());
    }
    timeline.add(
      name,
      () =>
        `wants ${lock.leaseName} (${mode}, ${JSON.stringify({ ...plan.options, ...claim })})`,
    );
    const acquire = async ({
      waitTimeout,
    }: {
      waitTimeout: number | undefined;
    }): Promise<LockHandle> => {
      const round: CallPlan =
        waitTimeout === undefined
          ? plan
          : {
              ...plan,
              mode: 'wait',
              options: { ...plan.options, waitTimeout },
            };
      const acquiring = this.engine.acquire({
        lock,
        options: resolveLockOptions(round.options),
        mode: round.mode,
        signal,
        claim,
      });
      const ended = this.expectEnd(round, signal, call);
      try {
        taken = await acquiring;
        return taken;
      } finally {
        ended();
      }
    };
    const acquired = acquireAndBegin(this.engine, claim, acquire);
    this.waits.add(controller);
    try {
      return await acquired;
    } catch (error) {
      statistics.count('refusals');
      timeline.add(name, () => `does not get it: ${String(error)}`);
      this.checkError(error, signal, plan);
      this.checkForsaken(error, plan);
      this.checkSkip(error, plan);
      this.checkRefusal(error, call);
      if (claim && !signal.aborted) {
        this.checkBegun(claim, startedAt, taken);
      }
      return undefined;
    } finally {
      this.waits.delete(controller);
      if (getEventListeners(signal, 'abort').length > 0) {
        findings.add(
          'leak',
          `${name}: a listener is left on a caller's signal`,
        );
      }
    }
  }

  /**
   * A wait that is cancelled or times out ends at once, unless it is for a fire whose holder may be
   * dead, or which the record says that this very call begins. @returns what to call when it has ended
   */
  private expectEnd(
    { lock, options, mode, claim }: CallPlan,
    signal: AbortSignal,
    call: FireCall | undefined,
  ): () => void {
    const { scheduler, findings, calls } = this.world;
    const { machine } = this;
    const triedAt = machine.localTime();
    let isOver = false;
    const mustEndBy = (
      time: number,
      why: string,
      respite: () => number = () => 0,
    ): void => {
      scheduler.at(time, () => {
        if (isOver || machine.isFrozen || machine.isDead) {
          return;
        }
        const rest = respite();
        if (rest > 0) {
          mustEndBy(machine.now + rest, why);
        } else {
          findings.add(
            'not-cancelled',
            `${machine.name}: a wait that ${why} goes on`,
          );
        }
      });
    };
    const onAbort = (): void =>
      mustEndBy(machine.now + AT_ONCE, 'was cancelled');
    // It may follow the run of another, for as long as that goes on.
    const { waitTimeout = 0 } = claim?.retry ? {} : options;
    if (mode === 'wait' && waitTimeout > 0) {
      mustEndBy(
        machine.now + waitTimeout / machine.rate + TIMER_LATENESS + AT_ONCE,
        'timed out',
        call &&
          (() => {
            const { observed: observation, holder } = this.localOf(lock);
            const { state } = machine.observe(() =>
              observation.judgeClaim(call.plan.claim),
            );
            if (state === 'own') {
              return triedAt + LONGEST_WRITE - machine.localTime();
            }
            return calls.respite(call, {
              verdict: machine.observe(() => observation.judge()),
              isClaimed: state === 'claimed',
              heardAt: observation['since'],
              isHeldHere: holder !== undefined,
              clientId: this.engine['context'].clientId,
            });
          }),
      );
    }
    signal.addEventListener('abort', onAbort, { once: true });
    const closing = this.engine['closing'].signal;
    // What was acquired in that very moment is given back first, for as long as the shutdown waits for that.
    const onClosing = (): void =>
      mustEndBy(machine.now + AT_ONCE, 'the shutdown was to end', () =>
        this.isGivingBack
          ? this.untilShutdownEnds() / machine.rate + TIMER_LATENESS
          : 0,
      );
    closing.addEventListener('abort', onClosing, { once: true });
    return () => {
      isOver = true;
      signal.removeEventListener('abort', onAbort);
      closing.removeEventListener('abort', onClosing);
    };
  }

  /** The application closes. */
  private get isClosing(): boolean {
    return this.engine['closing'].signal.aborted;
  }

  /** Milliseconds of this process's clock until the shutdown waits for no request any more. */
  private untilShutdownEnds(): number {
    const { engine, machine } = this;
    const { requestTimeout } = engine['context'];
    return engine['giveUpAt'] + requestTimeout - machine.localTime();
  }

  /** The engine holds a lock that nobody was given: it was acquired in the very turn of the shutdown. */
  private get isGivingBack(): boolean {
    const { engine, world } = this;
    return Array.from(engine['holders']).some(
      ({ holderIdentity, isReleased }) =>
        isReleased && world.holdings.get(holderIdentity) === undefined,
    );
  }

  /** What this process knows of a lock that it has wanted before. */
  private localOf({ namespace, leaseName }: LockReference): LocalLease {
    return this.engine['locals'].get(`${namespace}/${leaseName}`)!;
  }

  /** A skip is for a holder that is alive, as far as a client can know. */
  private checkSkip(error: unknown, { mode, lock }: CallPlan): void {
    const isSkip =
      mode === 'skip' &&
      error instanceof LockNotAcquiredError &&
      error.reason === 'held' &&
      error.holder !== undefined;
    if (isSkip && !this.machine.wasPaused) {
      this.world.checker.skipped(
        this.machine.name,
        lock.leaseName,
        error.holder,
      );
    }
  }

  /** A fire is not left out for a holder that may be dead. */
  private checkRefusal(error: unknown, call: FireCall | undefined): void {
    const { calls, findings } = this.world;
    if (call === undefined) {
      return;
    }
    if (error instanceof LockNotAcquiredError) {
      const here = this.localOf(call.plan.lock).holder;
      const isHeldHere = here !== undefined && here === error.holder;
      calls.refused(call, error, isHeldHere);
    } else if (error instanceof FireClaimedError) {
      calls.claimed(call);
    } else if (call.isUndisturbed && !this.isClosing) {
      findings.add(
        'fire-missed',
        `${this.machine.name} leaves out a fire though nothing is wrong any more: ${String(error)}`,
      );
    }
  }

  /**
   * A call for a fire has ended without running it. If the record has said that it begins, nobody else
   * does: its process must be about to end, and have had no answer for as long as it waits for one.
   */
  private checkBegun(
    claim: FireClaim,
    startedAt: number,
    taken: LockHandle | undefined,
  ): void {
    const { fires, findings, scheduler } = this.world;
    const { machine, engine } = this;
    const now = machine.localTime();
    const loss =
      taken instanceof HeldLock ? taken['holder']['loss'] : undefined;
    const wasGivenUp = loss === undefined || loss === 'shutdown';
    const { requestTimeout } = engine['context'];
    const isLost = this.isClosing
      ? !wasGivenUp || now >= engine['giveUpAt'] + requestTimeout / 2
      : now >= startedAt + LONGEST_WRITE;
    if (isLost) {
      return;
    }
    // What was under way at the end may arrive yet.
    scheduler.at(scheduler.now + A_MOMENT, () => {
      if (fires.isLeftBegun(claim)) {
        findings.add(
          'fire-missed',
          `${machine.name} does not run the fire of ${new Date(claim.at).toISOString()}, which the record says it has begun`,
        );
      }
    });
  }

  /** Who may have to run a fire again does not leave whoever runs it. */
  private checkForsaken(error: unknown, { claim, lock }: CallPlan): void {
    if (
      claim?.retry &&
      error instanceof LockNotAcquiredError &&
      error.reason === 'held' &&
      error.holder !== undefined
    ) {
      this.forsake(lock, claim, error.holder);
    }
  }

  private forsake(lock: LockReference, claim: FireClaim, holder: string): void {
    const { newest } = this.localOf(lock).observed;
    this.world.fires.forsaken(this.machine, claim, holder, newest);
  }

  private checkError(
    error: unknown,
    signal: AbortSignal,
    { claim, lock }: CallPlan,
  ): void {
    if (claim && error instanceof FireClaimedError) {
      const { state, by } = error.verdict;
      this.world.fires.skipped(this.machine, claim, state);
      if (state === 'running' && !this.isClosing) {
        this.forsake(lock, claim, by ?? '');
      }
      return;
    }
    const isDocumented =
      error instanceof LockNotAcquiredError ||
      (claim && error instanceof LockLostError) ||
      error instanceof LockBackendError ||
      (signal.aborted && error === signal.reason);
    if (!isDocumented) {
      const text = error instanceof Error ? error.stack : String(error);
      this.world.findings.add(
        'undocumented-error',
        `${this.machine.name}: acquire() rejected with ${text}`,
      );
    }
  }
}
