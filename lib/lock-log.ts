/** What of the events goes to Nest's log, in which words, and how often. */
import { Logger } from '@nestjs/common';
import {
  LockLostError,
  printable,
  quote,
  type LockBackendError,
} from './lock.errors.js';
import type { LockEvent } from './lock.events.js';
import { RepeatedLines } from './repeated-lines.js';

/** A loss and what fails at the API server are told; the rest is for those who ask why a job did not run: `debug`. */
export class LockLog {
  private readonly failures = new RepeatedLines();

  constructor(private readonly logger: Logger) {}

  /** Tells how often what was told already has happened again. */
  end(): void {
    this.failures.end();
  }

  note(event: LockEvent): void {
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
      case 'not-acquired':
        this.noteNotAcquired(event);
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
    // Nest knows the levels only where they were given as a list; other loggers filter by themselves.
    const isKnown = Logger.isLevelEnabled('fatal');
    if (!isKnown || Logger.isLevelEnabled('debug')) {
      const line = makeLine();
      if (line !== undefined) {
        this.logger.debug(line);
      }
    }
  }
}

/** Undefined for what happens too often to be told. */
function describe(event: LockEvent): string | undefined {
  const lock = quote(event.name);
  switch (event.type) {
    case 'acquired':
      return `Lock ${lock} was acquired${by(event)}${fire(event)}${holder(event)}, after ${Math.round(event.waited)} ms`;
    case 'skipped':
      return `${event.method ?? 'A call'} was skipped${fire(event)}: ${WHY_SKIPPED[event.reason](lock)}${holder(event)}`;
    case 'executed':
      return `${event.method ?? 'A call'} has ended under lock ${lock}${fire(event)}, after ${Math.round(event.duration)} ms`;
    case 'failed':
      return `${event.method ?? 'A call'} has failed under lock ${lock}${fire(event)}, after ${Math.round(event.duration)} ms: ${describeError(event.error)}`;
    default:
      return undefined;
  }
}

const WHY_SKIPPED = {
  held: (lock: string) => `lock ${lock} is held`,
  'fire-claimed': (lock: string) => `under lock ${lock} its fire was claimed`,
  shutdown: () => 'the application is shutting down',
};

/** What went wrong, whichever lock it was for. */
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
