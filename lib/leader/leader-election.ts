/** One election in this process: contends for the lock, tells who follows the leadership, and gives it back. */
import { Logger } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { distinctUntilChanged } from 'rxjs';
import { EventStream } from '../event-stream.js';
import {
  describeValue,
  findFaults,
  findObjectFaults,
  isClass,
  LOCK_RULES,
  throwFaults,
  type LockOptions,
} from '../k8s-lock.options.js';
import { clientOf, type LockClient } from '../lock.client.js';
import {
  isError,
  LockBackendError,
  LockConfigurationError,
  LockNotAcquiredError,
  type LockLostError,
  type LockReference,
} from '../lock.errors.js';
import { quote } from '../printable.js';
import type { LockService } from '../lock.service.js';
import { onAbort, waitUntil } from '../lock/abort-signals.js';
import type { LockHandle } from '../lock/hold/lock-handle.js';
import { backoff, pause } from '../lock/retry.js';
import { RepeatedLines } from '../repeated-lines.js';
import { LeaderTerm, refuseLazy, type Leadership } from './leadership.js';

/** How leadership is acquired and held. Defaults are those of `K8sLockModule.forRoot()`. */
export type LeaderElectionOptions = Pick<LockOptions, (typeof OPTIONS)[number]>;

const OPTIONS = [
  'namespace',
  'leaseDuration',
  'renewInterval',
  'safetyMargin',
  'retryInterval',
  'createLease',
] as const;

const RULES = Object.fromEntries(
  OPTIONS.map((option) => [option, LOCK_RULES[option]]),
);

/** A method that the explorer has found. */
export interface LeaderMethod<Argument> {
  /** `Class.method`. */
  readonly label: string;
  readonly call: (argument: Argument) => unknown;
}

/** What the process does about the election: for health checks. */
export type LeaderState =
  /** It waits for the lock. */
  | 'contending'
  | 'leading'
  /** The leadership has ended, and work of it still runs. */
  | 'ending'
  /** It pauses before it contends again, after a failure. */
  | 'failing';

/** The elections of each LockService, by their name. */
const elections = new WeakMap<object, Map<string, LeaderElection>>();

/** @param locks the LockService of the caller */
export function findElection(
  locks: object,
  name: string,
): LeaderElection | undefined {
  return elections.get(locks)?.get(name);
}

/** The names of the elections of a LockService, for messages. */
export function describeElections(locks: object): string {
  const names = [...(elections.get(locks)?.keys() ?? [])];
  return names.length === 0
    ? 'no election is registered: import LeaderElectionModule.forFeature()'
    : `the elections are ${names.map(quote).join(', ')}`;
}

/**
 * A leader among all processes that contend for the same lock. This process contends from
 * `onApplicationBootstrap` on, and leads for as long as it holds the lock. It stops leading when the lock is
 * lost or the application begins to close, and contends again after a loss, once the work of its last leadership
 * has ended.
 *
 * @example
 * constructor(
 *   @InjectLeaderElection('dispatcher') private readonly election: LeaderElection,
 * ) {}
 */
export class LeaderElection {
  /** The name of the election, and of its lock. */
  readonly name: string;
  /**
   * Whether this process leads: the present state at once, and then each change. Completes when the application
   * closes. An error that a listener throws is logged and does not affect the election.
   */
  readonly leader$: Observable<boolean>;
  private readonly logger = new Logger('LeaderElection');
  private readonly failureLines = new RepeatedLines();
  private readonly states = new EventStream<boolean>(
    'leader$',
    () => this.isLeader,
  );
  private readonly client: LockClient | undefined;
  private readonly options: LockOptions;
  private readonly elected: LeaderMethod<Leadership>[] = [];
  private readonly deposed: LeaderMethod<LockLostError>[] = [];
  private readonly waiting = new Set<{
    resolve: () => void;
    reject: (error: unknown) => void;
  }>();
  private lock: LockReference | undefined;
  private term: LeaderTerm | undefined;
  private isClosed = false;
  /**
   * What this process does about the election.
   *
   * @internal
   */
  state: LeaderState = 'contending';

  /**
   * Made by the module.
   *
   * @internal
   */
  constructor(
    locks: LockService,
    name: string,
    options: LeaderElectionOptions,
  ) {
    this.name = name;
    this.client = clientOf(locks);
    if (this.client?.hasStarted) {
      throwFaults([
        `the election ${quote(name)} would never begin, since the application has started without it: import LeaderElectionModule.forFeature(${quote(name)}) in a module that is not loaded lazily, and let its options depend on no request-scoped provider`,
      ]);
    }
    const known = elections.get(locks) ?? new Map<string, LeaderElection>();
    if (known.has(name)) {
      throwFaults([
        `the election ${quote(name)} is registered twice: import LeaderElectionModule.forFeature(${quote(name)}) in one module; every module can inject the election`,
      ]);
    }
    elections.set(locks, known.set(name, this));
    this.options = {
      ...options,
      autoRenew: true,
      minHold: 0,
      deleteOnRelease: false,
    };
    this.checkWithModule();
    this.client?.addFixedLock(name, this.options);
    this.leader$ = this.states.events$.pipe(distinctUntilChanged());
  }

  /** Whether this process leads right now, by the lock's own deadline (A15). */
  get isLeader(): boolean {
    return this.term?.isHeld ?? false;
  }

  /** The present leadership of this process, with its `signal` and fencing token; undefined if it does not lead. */
  get leadership(): Leadership | undefined {
    return this.present;
  }

  /**
   * As {@link leadership}.
   *
   * @internal
   */
  get present(): LeaderTerm | undefined {
    return this.isLeader ? this.term : undefined;
  }

  /**
   * Runs `work` once, as soon as this process leads, and resolves or rejects with its result. When the leadership ends,
   * `signal` aborts; the work is not run again, and its error does not end the leadership.
   *
   * @throws LockNotAcquiredError when the application closes before this process leads
   * @example
   * await election.whenLeader((signal) => migrate({ signal }));
   */
  async whenLeader<T>(
    work: (signal: AbortSignal, leadership: Leadership) => T | Promise<T>,
  ): Promise<T> {
    if (typeof work !== 'function' || isClass(work)) {
      throwFaults([
        `the argument of whenLeader() must be the function to run, not ${describeValue(work)}`,
      ]);
    }
    for (;;) {
      const { present } = this;
      if (present !== undefined) {
        return present.run('the function of whenLeader()', () =>
          work(present.signal, present),
        );
      }
      // oxlint-disable-next-line no-await-in-loop -- the leadership may have ended at once
      await this.nextElection();
    }
  }

  /**
   * The error of a call that only the leader runs.
   *
   * @internal
   */
  refusal(): LockNotAcquiredError {
    return new LockNotAcquiredError(
      this.lock ?? this.unlocated,
      this.isClosed ? 'shutdown' : 'held',
    );
  }

  /**
   * Called by the explorer.
   *
   * @internal
   */
  onElected(method: LeaderMethod<Leadership>): void {
    this.elected.push(method);
  }

  /**
   * Called by the explorer.
   *
   * @internal
   */
  onDeposed(method: LeaderMethod<LockLostError>): void {
    this.deposed.push(method);
  }

  /**
   * Called by Nest. A stub of LockService never leads.
   *
   * @internal
   */
  onApplicationBootstrap(): void {
    if (this.client !== undefined) {
      onAbort(this.client.engine.closingSignal, () => this.close());
      void this.contend(this.client);
    }
  }

  /**
   * Called by Nest; the lock itself is released with all others.
   *
   * @internal
   */
  onApplicationShutdown(): void {
    this.close();
    this.failureLines.end();
    this.states.complete();
  }

  /** Checks the options together with those of the module. @throws LockConfigurationError that names every fault */
  private checkWithModule(): void {
    const { client, name, options } = this;
    throwElectionFaults(name, () =>
      client?.complete(options).leaseDuration === Infinity
        ? [
            'leaseDuration must be a number of milliseconds, not "infinite": a leader that dies would never be replaced',
          ]
        : [],
    );
  }

  /** Leads again and again, until the application begins to close. Never rejects. */
  private async contend(client: LockClient): Promise<void> {
    const { clock, closingSignal } = client.engine;
    // oxlint-disable no-await-in-loop -- one leadership after the other
    for (let failures = 0; !closingSignal.aborted;) {
      this.state = 'contending';
      try {
        const hasFailed = await this.lead(await this.acquire(client));
        failures = hasFailed ? failures + 1 : 0;
      } catch (error) {
        failures += 1;
        this.noteFailure(error);
      }
      if (failures > 0) {
        this.state = 'failing';
        const delay = backoff(clock, failures);
        await pause(clock, delay, closingSignal).catch(() => undefined);
      }
    }
    // oxlint-enable no-await-in-loop
  }

  private async acquire(client: LockClient): Promise<LockHandle> {
    const { lock, options } = await client.resolve(this.name, this.options);
    this.lock = lock;
    return client.engine.acquire({
      lock,
      options: { ...options, waitTimeout: undefined, maxHold: undefined },
      mode: 'wait',
    });
  }

  /** Leads until the leadership ends, and its work has. @returns whether a method under `@OnElected()` has failed */
  private async lead(lock: LockHandle): Promise<boolean> {
    const term = new LeaderTerm(lock);
    const { signal } = term;
    let hasFailed = false;
    if (!signal.aborted) {
      const over = waitUntil((done) => onAbort(signal, done));
      this.term = term;
      this.state = 'leading';
      this.logger.log(
        `This process leads ${quote(this.name)} (fencing token ${term.fencingToken})`,
      );
      for (const { label, call } of this.elected) {
        term
          .run(label, () => call(term))
          .catch((error: unknown) => {
            if (!signal.aborted) {
              hasFailed = true;
              this.logError(
                `${label} has failed, so this process stops leading`,
                error,
              );
              term.stepDown();
            } else if (error !== signal.reason && !isAbortError(error)) {
              this.logError(`${label} has failed`, error);
            }
          });
      }
      this.states.emit(true);
      this.waiting.forEach(({ resolve }) => resolve());
      this.waiting.clear();
      await over;
      this.state = 'ending';
      await this.depose(signal.reason);
    }
    await term.idle();
    await lock.release();
    return hasFailed;
  }

  private async depose(reason: LockLostError): Promise<void> {
    this.logger.log(
      `This process no longer leads ${quote(this.name)}: ${reason.reason}`,
    );
    this.states.emit(false);
    await Promise.all(
      this.deposed.map(async ({ label, call }) => {
        try {
          refuseLazy(label, await call(reason));
        } catch (error) {
          this.logError(`${label} has failed`, error);
        }
      }),
    );
  }

  private async nextElection(): Promise<void> {
    if (this.isClosed) {
      throw this.refusal();
    }
    return new Promise((resolve, reject) => {
      this.waiting.add({ resolve, reject });
    });
  }

  private close(): void {
    this.isClosed = true;
    this.waiting.forEach(({ reject }) => reject(this.refusal()));
    this.waiting.clear();
  }

  /** Failures of the API server, and the shutdown, are in the log already. */
  private noteFailure(error: unknown): void {
    if (
      error instanceof LockBackendError ||
      error instanceof LockNotAcquiredError
    ) {
      return;
    }
    this.failureLines.note(String(error), (count) =>
      this.logError(
        `This process can't contend for ${quote(this.name)}${count}`,
        error,
      ),
    );
  }

  private logError(what: string, error: unknown): void {
    this.logger.error(what, isError(error) ? error.stack : String(error));
  }

  /** Before the first contention. */
  private get unlocated(): LockReference {
    const { name, client, options } = this;
    return {
      name,
      namespace: options.namespace ?? 'default',
      leaseName: client?.leaseNameOf(name) ?? name,
    };
  }
}

function isAbortError(error: unknown): boolean {
  return isError(error) && error.name === 'AbortError';
}

/** @throws LockConfigurationError for a wrong name */
export function checkElectionName(name: unknown): void {
  if (typeof name !== 'string' || name === '') {
    throwFaults([
      `the name of an election must be a non-empty string, not ${describeValue(name)}`,
    ]);
  }
}

/** Checks the options of an election. @throws LockConfigurationError that names every fault */
export function checkElection(
  name: string,
  options: LeaderElectionOptions,
): LeaderElectionOptions {
  checkElectionName(name);
  throwElectionFaults(name, () => {
    const faults = findObjectFaults('the options', options);
    return faults.length > 0 ? faults : findFaults(options, RULES);
  });
  return options;
}

/** @throws LockConfigurationError in which each fault names the election */
function throwElectionFaults(name: string, find: () => string[]): void {
  let faults: readonly string[];
  try {
    faults = find();
  } catch (error) {
    if (!(error instanceof LockConfigurationError)) {
      throw error;
    }
    ({ faults } = error);
  }
  throwFaults(faults.map((fault) => `the election ${quote(name)}: ${fault}`));
}
