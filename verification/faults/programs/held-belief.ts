/** What a worker believes of a lock, a permit or a leadership that it has, written down; and the work that is done in it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { LockLostError, type LeaseLock } from 'nestjs-k8s-lock';
import type { BeliefLog } from '../../beliefs/belief-log.js';
import type { Random } from '../../simulation/random.js';
import { SESSION_LEASE, type Mode, type Report } from './messages.js';
import type { TrueTime } from './true-time.js';

/** The longest time for which something is held when nothing takes it away. */
const LONGEST_HOLD = 10_000;

export interface Surroundings {
  readonly time: TrueTime;
  readonly log: BeliefLog;
  readonly tell: (report: Report) => void;
}

/** What is believed in. */
export type Held = Pick<
  LeaseLock,
  'name' | 'leaseName' | 'holderIdentity' | 'fencingToken' | 'signal' | 'isHeld'
>;

/** Who believes. */
export interface Believer {
  readonly mode: () => Mode;
  readonly random: Random;
}

/** Most holds are short; some last until the lock is lost. */
export function drawDuration(random: Random): number {
  const longest = random.pick([100, 100, 100, 1_000, 1_000, 2 * SESSION_LEASE]);
  return random.chance(0.2) ? LONGEST_HOLD : random.between(0, longest);
}

/** It lasts as long as either the signal or `isHeld` says that it is held. */
export class HeldBelief {
  private isOver = false;

  private constructor(
    private readonly held: Held,
    private readonly surroundings: Surroundings,
    private readonly believer: Believer,
    at: number,
  ) {
    const { name, leaseName, holderIdentity: holding, fencingToken } = held;
    const token = String(fencingToken);
    const { log, tell } = surroundings;
    log.write({ event: 'acquired', lock: leaseName, name, holding, token, at });
    tell({ type: 'acquired', lock: leaseName, holding });
    const { signal } = held;
    const onLoss = (): void => this.lose(signal.reason);
    if (signal.aborted) {
      onLoss();
    } else {
      signal.addEventListener('abort', onLoss, { once: true });
    }
  }

  /** Undefined: it is over already. */
  static in(
    held: Held,
    surroundings: Surroundings,
    believer: Believer,
  ): HeldBelief | undefined {
    const at = surroundings.time.earliest();
    return held.isHeld
      ? new HeldBelief(held, surroundings, believer, at)
      : undefined;
  }

  end(how: 'released' | 'lost', cause?: unknown): void {
    if (this.isOver) {
      return;
    }
    this.isOver = true;
    const at = this.surroundings.time.latest();
    const { leaseName, holderIdentity: holding } = this.held;
    const reason = cause instanceof LockLostError ? cause.reason : undefined;
    this.surroundings.log.write({ event: 'ended', holding, how, reason, at });
    this.surroundings.tell({ type: 'ended', lock: leaseName, holding });
  }

  /** Writes to the register all the time; a careless holder goes on for a while after the lock is lost. */
  async work(duration: number): Promise<void> {
    const { mode, random } = this.believer;
    const started = performance.now();
    const goesOn = (): boolean =>
      performance.now() - started < duration && mode() === 'work';
    let carelessness = random.chance(0.3) ? 20 : 0;
    do {
      this.write();
      // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
      await sleep(random.between(10, 50));
    } while (goesOn() && (!this.isOver || carelessness-- > 0));
  }

  private lose(cause: unknown): void {
    if (this.held.isHeld) {
      setTimeout(() => this.lose(cause), 1);
    } else {
      const isReleased =
        cause instanceof LockLostError && cause.reason === 'released';
      this.end(isReleased ? 'released' : 'lost', cause);
    }
  }

  private write(): void {
    const { leaseName, holderIdentity: holding, fencingToken } = this.held;
    const token = String(fencingToken);
    this.surroundings.tell({ type: 'write', lock: leaseName, holding, token });
  }
}
