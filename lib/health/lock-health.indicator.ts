/** Says whether locks work, in the form that Terminus asks for; it needs nothing of Terminus itself. */
import { Injectable } from '@nestjs/common';
import {
  findFaults,
  findObjectFaults,
  NOT_NEGATIVE,
  POSITIVE,
  throwFaults,
  type Rule,
} from '../k8s-lock.options.js';
import { LockBackendError, printable } from '../lock.errors.js';
import type { LockEngine } from '../lock/lock-engine.js';
import { clientOf, LockService } from '../lock.service.js';

/** How it stands with the locks of this process. Names no holder, and nothing of the cluster. */
export interface LockHealth {
  status: 'up' | 'down';
  /** Whether the API server answered; left out where it was not asked. */
  apiServer?: 'up' | 'down';
  /** Why it did not: `network`, `timeout`, `unauthorized`, … */
  reason?: string;
  /** Names of locks whose renewal is late: if it goes on failing they will be lost. */
  overdue?: string[];
  /** Names of locks that were lost while the work under them goes on. */
  lost?: string[];
}

/** The result of one health check, under its key. */
export type LockHealthResult = Record<string, LockHealth>;

/**
 * Health checks for `@nestjs/terminus` 11 and 12, and for whatever else takes an object with a status.
 * List it among the providers of the module with the health controller.
 *
 * @example
 * constructor(
 *   private readonly health: HealthCheckService,
 *   private readonly locks: LockHealthIndicator,
 * ) {}
 *
 * @Get('health/locks') @HealthCheck()
 * check() {
 *   return this.health.check([() => this.locks.isHealthy('locks')]);
 * }
 */
@Injectable()
export class LockHealthIndicator {
  constructor(private readonly locks: LockService) {}

  /**
   * Up when the API server answers, and no held lock is past its renewal time or lost under its work.
   * One request. For monitoring, and for the readiness of a pod that can do nothing without locks: not
   * for liveness, since a restart does not bring back an API server that is down.
   *
   * @param options.timeout milliseconds that the API server has for its answer; default 1 000. The probe's own
   * `timeoutSeconds` should be longer.
   * @throws LockConfigurationError for a `timeout` that is wrong, and nothing else
   */
  async isHealthy(
    key: string,
    options: { timeout?: number } = {},
  ): Promise<LockHealthResult> {
    checkOptions('isHealthy', options, { timeout: POSITIVE });
    const { timeout = 1_000 } = options;
    const reason = await this.findFault(timeout);
    const overdue = this.namesOf('overdue');
    const lost = this.namesOf('lost');
    const isUp =
      reason === undefined && overdue.length === 0 && lost.length === 0;
    return {
      [key]: {
        status: isUp ? 'up' : 'down',
        apiServer: reason === undefined ? 'up' : 'down',
        ...(reason !== undefined && { reason }),
        ...(overdue.length > 0 && { overdue }),
        ...(lost.length > 0 && { lost }),
      },
    };
  }

  /**
   * Down when work goes on although the lease of its lock has been expired for longer than `tolerance`:
   * it was told to stop and does not, and a restart helps. Sends no request, and an API server that is
   * down does not make it down. For liveness.
   *
   * @param options.tolerance milliseconds from the expiry of the lease; default 60 000
   */
  isAlive(key: string, options: { tolerance?: number } = {}): LockHealthResult {
    checkOptions('isAlive', options, { tolerance: NOT_NEGATIVE });
    const { tolerance = 60_000 } = options;
    const lost = this.namesOf('lost', tolerance);
    return {
      [key]: {
        status: lost.length === 0 ? 'up' : 'down',
        ...(lost.length > 0 && { lost }),
      },
    };
  }

  /** Undefined where a test provides something in the place of LockService: it is well. */
  private get engine(): LockEngine | undefined {
    return clientOf(this.locks)?.engine;
  }

  private namesOf(state: 'overdue' | 'lost', expiredFor = -Infinity): string[] {
    const found = this.engine?.check() ?? [];
    return found
      .filter((lock) => lock.state === state && lock.expiredFor > expiredFor)
      .map(({ name }) => printable(name));
  }

  /** Why the API server is of no use at the moment. */
  private async findFault(timeout: number): Promise<string | undefined> {
    try {
      await this.engine?.ping(timeout);
      return undefined;
    } catch (error) {
      if (!(error instanceof LockBackendError)) {
        return 'configuration';
      }
      // Whoever may not ask for the own rights has been answered.
      return error.reason === 'forbidden' ? undefined : error.reason;
    }
  }
}

/** @throws LockConfigurationError that names every fault */
function checkOptions(
  method: string,
  options: object,
  rules: Record<string, Rule>,
): void {
  throwFaults(findObjectFaults(`the options of ${method}()`, options));
  throwFaults(findFaults(options, rules));
}
