/**
 * A process that contends in an election: the real LeaderElection, called as Nest calls it, and what the application
 * does as the leader.
 */
import { Logger } from '@nestjs/common';
import {
  resolveLockOptions,
  type LockOptions,
} from '../../lib/k8s-lock.options.js';
import { LeaderElection } from '../../lib/leader/leader-election.js';
import { LeaderTerm, type Leadership } from '../../lib/leader/leadership.js';
import { clients, LockClient } from '../../lib/lock.client.js';
import {
  LockNotAcquiredError,
  type LockReference,
} from '../../lib/lock.errors.js';
import { LockService } from '../../lib/lock.service.js';
import { onAbort, waitUntil } from '../../lib/lock/abort-signals.js';
import type { LockHandle } from '../../lib/lock/hold/lock-handle.js';
import type { LockEngine } from '../../lib/lock/lock-engine.js';
import type { Holding } from './holdings.js';
import { holdingOf } from './holdings.js';
import type { Machine } from './machine.js';
import type { Random } from './random.js';
import type { World } from './world.js';

// What an election logs is in the timeline.
Logger.overrideLogger(false);

/** Milliseconds. */
const AT_ONCE = 0.001;

/** Work of a leadership fails, as an application's may. */
class Failure extends Error {}

/** A leadership of this process, and how much work of it runs. */
interface Term {
  readonly holding: Holding;
  works: number;
  /** The methods under `@OnDeposed()` have ended. */
  isDeposed: boolean;
}

export class Candidate {
  private readonly election: LeaderElection;
  private readonly terms = new Map<Leadership, Term>();
  private isClosed = false;
  /** What the listener of `leader$` was told last. */
  private told = false;

  constructor(
    private readonly world: World,
    private readonly machine: Machine,
    engine: LockEngine,
    private readonly random: Random,
    lock: LockReference,
    options: LockOptions,
  ) {
    const service: LockService = Object.create(LockService.prototype);
    clients.set(service, clientOf(engine, lock));
    this.election = new LeaderElection(service, lock.name, options);
    const label = machine.name;
    this.election.onElected({
      label,
      call: (leadership) => this.elected(leadership),
    });
    this.election.onDeposed({ label, call: () => this.deposed() });
    this.election.leader$.subscribe((isLeader) => {
      this.told = isLeader;
    });
  }

  start(): void {
    this.election.onApplicationBootstrap();
    void this.askAgainAndAgain();
    void this.workAgainAndAgain();
  }

  close(): void {
    this.isClosed = true;
    this.election.onApplicationShutdown();
  }

  /** Whether it leads, without a look at its clock. */
  get leads(): boolean {
    const term = this.election['term'];
    return term !== undefined && !endOf(term).aborted;
  }

  /** What it has told whoever follows `leader$`. */
  get hasSaidSo(): boolean {
    return this.told === this.leads;
  }

  private async elected(leadership: Leadership): Promise<void> {
    const { world, machine, random } = this;
    world.statistics.count('leaderships');
    const { lock } = partsOf(leadership);
    const holding = holdingOf(lock, machine, {
      signal: endOf(leadership),
      options: resolveLockOptions(this.election['options']),
    });
    this.terms.set(leadership, { holding, works: 0, isDeposed: false });
    world.checker.acquired(holding);
    await this.workUnder(leadership, random.chance(0.3));
  }

  /** Some work as the leader: to its end, or for as long as the leadership lasts. */
  private async workUnder(
    leadership: Leadership,
    mayFail: boolean,
  ): Promise<void> {
    const { machine, random, world } = this;
    const term = this.terms.get(leadership)!;
    const end = endOf(leadership);
    for (const [other, { works, isDeposed }] of this.terms) {
      if (other !== leadership && (works > 0 || !isDeposed)) {
        world.findings.add(
          'two-terms',
          `${machine.name} begins work of a leadership while that of an earlier one runs`,
        );
      }
    }
    // It may be paused between the decision and the call.
    if (end.aborted && !machine.isFrozen) {
      world.findings.add(
        'leads-no-more',
        `${machine.name} begins work of a leadership that has ended`,
      );
    }
    term.works += 1;
    try {
      const { leaseDuration } = world.scenario;
      const isStubborn = random.chance(0.2);
      const until =
        machine.localTime() + random.magnitude(1, 6 * leaseDuration);
      while (machine.localTime() < until && !this.isToEnd(end, isStubborn)) {
        const step = machine.sleep(random.magnitude(5, 1_000));
        // oxlint-disable-next-line no-await-in-loop -- work takes its time
        await (isStubborn && !world.isHealed
          ? step
          : Promise.race([step, aborted(end)]));
        this.ask();
        const at = machine.now + random.magnitude(0.3, 2_000);
        if (!end.aborted || isStubborn) {
          world.scheduler.at(at, () =>
            world.checker.writeRegister(term.holding),
          );
        }
      }
      if (mayFail && !world.isHealed && !end.aborted) {
        world.statistics.count('leaderships given up');
        this.mustEnd(end);
        throw new Failure('the work of the leader fails');
      }
    } finally {
      term.works -= 1;
      this.endIfOver(leadership, term);
    }
  }

  /** A leader whose work has failed leads no more. */
  private mustEnd(end: AbortSignal): void {
    const { machine, world } = this;
    world.scheduler.at(machine.now + AT_ONCE, () => {
      if (!end.aborted && !machine.isDead && !machine.isFrozen) {
        world.findings.add(
          'leads-no-more',
          `${machine.name} leads on, though its work has failed`,
        );
      }
    });
  }

  private isToEnd(end: AbortSignal, isStubborn: boolean): boolean {
    return end.aborted && (!isStubborn || this.world.isHealed);
  }

  private async deposed(): Promise<void> {
    const { machine, random, world } = this;
    const [leadership, term] = [...this.terms].at(-1)!;
    if (!endOf(leadership).aborted) {
      world.findings.add(
        'leads-no-more',
        `${machine.name} is deposed before the signal of its leadership has aborted`,
      );
    }
    if (!world.isHealed && random.chance(0.3)) {
      await machine.sleep(random.magnitude(1, world.scenario.leaseDuration));
    }
    term.isDeposed = true;
    this.endIfOver(leadership, term);
    if (random.chance(0.1)) {
      throw new Failure('what follows a leadership fails');
    }
  }

  /** The lock is released when all work has ended. */
  private endIfOver(leadership: Leadership, term: Term): void {
    if (term.works === 0 && term.isDeposed && this.terms.delete(leadership)) {
      this.world.checker.released(term.holding);
    }
  }

  /** As a method under `@LeaderOnly()` does, at any time. */
  private async askAgainAndAgain(): Promise<void> {
    const { machine, random, world } = this;
    while (!this.isClosed) {
      // oxlint-disable-next-line no-await-in-loop -- again and again
      await machine.sleep(
        random.magnitude(20, world.scenario.leaseDuration / 2),
      );
      this.ask();
    }
  }

  private ask(): void {
    const { election, machine, world } = this;
    const isLeader = election.isLeader;
    // To ask looks at the clock, and the leadership may end by that.
    const present = election['term'];
    const term = present && this.terms.get(present);
    if (isLeader && term !== undefined) {
      world.checker.leads(term.holding);
    } else if (isLeader) {
      world.findings.add(
        'leads-no-more',
        `${machine.name} says that it leads, and has not been elected`,
      );
    }
  }

  /** Waits until it leads, and works then. */
  private async workAgainAndAgain(): Promise<void> {
    const { machine, random, world, election } = this;
    while (!this.isClosed) {
      try {
        // oxlint-disable no-await-in-loop -- one after the other
        await machine.sleep(
          random.magnitude(20, 3 * world.scenario.leaseDuration),
        );
        await election.whenLeader((_, leadership) =>
          this.workUnder(leadership, false),
        );
        // oxlint-enable no-await-in-loop
      } catch (error) {
        if (
          !(error instanceof LockNotAcquiredError) ||
          error.reason !== 'shutdown'
        ) {
          throw error;
        }
        return;
      }
    }
  }
}

/** The part of a LockClient that an election uses: the module of Nest is not simulated. */
function clientOf(engine: LockEngine, lock: LockReference): LockClient {
  const client: LockClient = Object.create(LockClient.prototype);
  const parts: Pick<
    LockClient,
    'engine' | 'complete' | 'resolve' | 'addFixedLock' | 'leaseNameOf'
  > = {
    engine,
    complete: (options) => resolveLockOptions(options),
    resolve: async (_name, options) => ({
      lock,
      options: { ...resolveLockOptions(options), namespace: lock.namespace },
    }),
    addFixedLock: () => undefined,
    leaseNameOf: () => lock.leaseName,
  };
  return Object.assign(client, parts);
}

/** The signal of a leadership. To ask for it makes the lock look at its clock, so that its own timers would not be needed. */
function endOf(leadership: Leadership): AbortSignal {
  return partsOf(leadership).end;
}

function aborted(signal: AbortSignal): Promise<void> {
  return waitUntil((done) => onAbort(signal, done));
}

function partsOf(leadership: Leadership): {
  lock: LockHandle;
  end: AbortSignal;
} {
  if (!(leadership instanceof LeaderTerm)) {
    throw new TypeError('an election hands out another kind of leadership');
  }
  return { lock: leadership['lock'], end: leadership['end'] };
}
