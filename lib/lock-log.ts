/** Writes events of locks to Nest's log. */
import { Logger } from '@nestjs/common';
import type { Observer } from 'rxjs';
import {
  explainSaturation,
  LockLostError,
  type LockBackendError,
} from './lock.errors.js';
import { printable, quote } from './printable.js';
import type { LockEvent } from './lock.events.js';
import { RepeatedLines } from './repeated-lines.js';

/**
 * A listener of `events$`. Losses and failures of the API server are warnings or errors; other events, which
 * explain why a job did not run, are `debug`.
 */
export class LockLog implements Partial<Observer<LockEvent>> {
  private readonly failures = new RepeatedLines();

  constructor(private readonly logger: Logger) {}

  /** Writes the counts of suppressed lines. */
  complete(): void {
    this.failures.end();
  }

  next(event: LockEvent): void {
    switch (event.type) {
      case 'lost':
        this.logger.warn(new LockLostError(event, event.reason).explanation);
        break;
      case 'backend-error': {
        const { operation, error } = event;
        const level = operation === 'watch' ? 'debug' : 'warn';
        this.failures.note(`${operation} ${causeOf(error)}`, (count) =>
          this.logger[level](`${operation}: ${error.explanation}${count}`),
        );
        break;
      }
      case 'saturated':
        this.failures.note('saturated', (count) =>
          this.logger.warn(explainSaturation(event, event) + count),
        );
        break;
      case 'not-acquired':
        this.noteNotAcquired(event);
        break;
      case 'permits-differ':
        this.logger.warn(
          `Semaphore ${quote(event.name)} (Lease ${event.namespace}/${event.leaseName}) has ${event.permits} permits here and ${event.others} in another process, so up to ${Math.max(event.permits, event.others)} can hold it at a time. This is expected while a rollout changes them; otherwise use one number everywhere.`,
        );
        break;
      default:
        this.debug(() => describe(event));
    }
  }

  private noteNotAcquired(
    event: Extract<LockEvent, { type: 'not-acquired' }>,
  ): void {
    const { reason, error } = event;
    if (reason === 'failed' && error !== undefined) {
      this.failures.note(`failed ${causeOf(error)}`, (count) =>
        this.logger.error(
          `${event.method ?? 'A call'} did not run: ${error.explanation}${count}`,
        ),
      );
    }
    this.debug(
      () =>
        `Lock ${quote(event.name)} was not acquired${by(event)}: ${reason}${holder(event)}, after ${Math.round(event.waited)} ms`,
    );
  }

  private debug(makeLine: () => string | undefined): void {
    // Nest knows the enabled levels only if they were given as a list; other loggers filter the lines themselves.
    const isKnown = Logger.isLevelEnabled('fatal');
    if (!isKnown || Logger.isLevelEnabled('debug')) {
      const line = makeLine();
      if (line !== undefined) {
        this.logger.debug(line);
      }
    }
  }
}

/** Undefined for events that are too frequent for the log. */
function describe(event: LockEvent): string | undefined {
  const lock = quote(event.name);
  switch (event.type) {
    case 'acquired':
      return `Lock ${lock} was acquired${by(event)}${fire(event)}${holder(event)}, after ${Math.round(event.waited)} ms`;
    case 'skipped':
      return `${event.method ?? 'A call'} was skipped${fire(event)}: ${WHY_SKIPPED[event.reason](lock)}${holder(event)}`;
    case 'executed':
      return `${event.method ?? 'A call'} succeeded under lock ${lock}${fire(event)}, after ${Math.round(event.duration)} ms`;
    case 'unsaturated':
      return `This process can renew more locks again, after ${Math.round(event.duration)} ms`;
    case 'failed':
      return `${event.method ?? 'A call'} failed under lock ${lock}${fire(event)}, after ${Math.round(event.duration)} ms: ${describeError(event.error)}`;
    default:
      return undefined;
  }
}

const WHY_SKIPPED = {
  held: (lock: string) => `lock ${lock} is held`,
  'fire-claimed': (lock: string) =>
    `the fire was already claimed under lock ${lock}`,
  shutdown: () => 'the application is shutting down',
};

/** The key of a failure, which is the same for all locks of a namespace. */
function causeOf(error: LockBackendError): string {
  const { reason, lock, explanation } = error;
  return lock === undefined
    ? `${reason} ${explanation}`
    : `${reason} ${lock.namespace} ${explanation.replaceAll(lock.name, '').replaceAll(lock.leaseName, '')}`;
}

function by({ method }: { method?: string }): string {
  return method === undefined ? '' : ` by ${method}`;
}

function fire({ fire: at }: { fire?: Date }): string {
  return at === undefined ? '' : ` for the fire of ${at.toISOString()}`;
}

function holder({ holder: who }: { holder?: string }): string {
  return who === undefined ? '' : ` (holder ${printable(who)})`;
}

function describeError(error: unknown): string {
  return printable(
    error instanceof Error ? `${error.name}: ${error.message}` : String(error),
  );
}
