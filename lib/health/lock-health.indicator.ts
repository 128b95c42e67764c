/** Health checks for locks, in the form that Terminus expects, without loading Terminus. */
import { Injectable } from '@nestjs/common';
import {
  findFaults,
  findObjectFaults,
  NOT_NEGATIVE,
  POSITIVE,
  throwFaults,
  type Rule,
} from '../k8s-lock.options.js';
import { LockBackendError } from '../lock.errors.js';
import { printable } from '../printable.js';
import type { LockEngine } from '../lock/lock-engine.js';
import { clientOf } from '../lock.client.js';
import { LockService } from '../lock.service.js';

/** The health of the locks of this process. Contains no holder and no detail of the cluster. */
export interface LockHealth {
  status: 'up' | 'down';
  /** Whether the API server answered; absent if no request was sent. */
  apiServer?: 'up' | 'down';
  /** The reason if it did not answer: `network`, `timeout`, `unauthorized`, … */
  reason?: string;
  /** Names of locks whose renewal is overdue: they will be lost if it keeps failing. */
  overdue?: string[];
  /** Names of lost locks whose work is still running. */
  lost?: string[];
}

/** The result of one health check, under its key. */
export type LockHealthResult = Record<string, LockHealth>;

/**
 * Health checks for `@nestjs/terminus` 11 and 12, or for other code that takes an object with a status.
 * List this class in the providers of the module with the health controller.
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
   * Up when the API server answers, no renewal is overdue, and no work runs under a lost lock. Sends one
   * request. For monitoring, and for the readiness of a pod that can do nothing without locks. Not for
   * liveness: a restart does not bring back an API server that is down.
   *
   * @param options.timeout milliseconds within which the API server must answer; default 1 000. Set the probe's
   * `timeoutSeconds` above it.
   * @throws LockConfigurationError only for a wrong `timeout`
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
   * Down when work still runs although the lease of its lock expired more than `tolerance` ago: the work
   * ignored its signal, and a restart helps. Sends no request, and stays up when the API server is down.
   * For liveness.
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

  /** Undefined if a test replaces LockService, which then counts as healthy. */
  private get engine(): LockEngine | undefined {
    return clientOf(this.locks)?.engine;
  }

  private namesOf(state: 'overdue' | 'lost', expiredFor = -Infinity): string[] {
    const found = this.engine?.check() ?? [];
    return found
      .filter((lock) => lock.state === state && lock.expiredFor > expiredFor)
      .map(({ name }) => printable(name));
  }

  /** The reason for which the API server can't be used at present. */
  private async findFault(timeout: number): Promise<string | undefined> {
    try {
      await this.engine?.ping(timeout);
      return undefined;
    } catch (error) {
      if (!(error instanceof LockBackendError)) {
        return 'configuration';
      }
      // 403: the API server answered, even though it refused the access review.
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
