/** Health checks for elections, in the form that Terminus expects, without loading Terminus. */
import { Injectable } from '@nestjs/common';
import { throwFaults } from '../k8s-lock.options.js';
import { quote } from '../printable.js';
import { LockService } from '../lock.service.js';
import { describeElections, findElection } from './leader-election.js';

/** The part of this process in an election. Contains no holder and no detail of the cluster. */
export interface LeaderHealth {
  status: 'up' | 'down';
  /** Whether this process leads. */
  isLeader: boolean;
  /**
   * Why it is down: `ending`, its leadership has ended and work of it still runs; `failing`, it pauses before it
   * contends again, since a method under `@OnElected()` has failed or the API server refuses. The log says more.
   */
  reason?: 'ending' | 'failing';
}

/** The result of one health check, under its key. */
export type LeaderHealthResult = Record<string, LeaderHealth>;

/**
 * Health checks of elections for `@nestjs/terminus` 11 and 12, or for other code that takes an object with a status.
 * List this class in the providers of the module with the health controller, beside `LockHealthIndicator`, which
 * checks the API server and the renewal of all locks.
 *
 * @example
 * check() {
 *   return this.health.check([() => this.elections.isHealthy('dispatcher')]);
 * }
 */
@Injectable()
export class LeaderHealthIndicator {
  constructor(private readonly locks: LockService) {}

  /**
   * Up when this process leads, or contends for the leadership. Sends no request.
   *
   * @param election the name of the election
   * @param key the key of the result; default: the name of the election
   * @throws LockConfigurationError for an unknown election
   */
  isHealthy(election: string, key: string = election): LeaderHealthResult {
    const found = findElection(this.locks, election);
    if (found === undefined) {
      throwFaults([
        `there is no election ${quote(election)}: ${describeElections(this.locks)}`,
      ]);
    }
    const { isLeader, state } = found!;
    const isDown = state === 'ending' || state === 'failing';
    return {
      [key]: {
        status: isDown ? 'down' : 'up',
        isLeader,
        ...(isDown && { reason: state }),
      },
    };
  }
}
