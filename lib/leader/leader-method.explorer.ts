/** The startup pass: finds the methods under `@OnElected`, `@OnDeposed` and `@LeaderOnly`, and gives the first two to their election. */
import { Injectable } from '@nestjs/common';
import { describeMethod } from '../decorators/lock.metadata.js';
import { LockedMethodExplorer } from '../decorators/lock.explorer.js';
import { describeValue, throwFaults } from '../k8s-lock.options.js';
import { quote } from '../printable.js';
import { LockService } from '../lock.service.js';
import { describeElections, findElection } from './leader-election.js';
import { findLeaderMarks } from './leader.metadata.js';

@Injectable()
export class LeaderMethodExplorer {
  constructor(
    private readonly locks: LockService,
    private readonly explorer: LockedMethodExplorer,
  ) {}

  /** Called by Nest before elections begin. @throws LockConfigurationError that names every fault */
  onModuleInit(): void {
    const faults: string[] = [];
    for (const method of this.explorer.findMarkedMethods(findLeaderMarks)) {
      const { prototype, key, marks, instance } = method;
      const label = describeMethod(prototype, key);
      for (const { decorator, election: name } of marks) {
        const election =
          typeof name === 'string' ? findElection(this.locks, name) : undefined;
        if (election === undefined) {
          faults.push(
            `${label}: @${decorator}() names the election ${typeof name === 'string' ? quote(name) : describeValue(name)}, which is not registered; ${describeElections(this.locks)}`,
          );
        } else if (decorator !== 'LeaderOnly') {
          if (instance === undefined) {
            faults.push(
              `${label}: @${decorator}() is for classes with one instance, not for request-scoped or transient ones`,
            );
            continue;
          }
          const call = (argument: unknown): unknown =>
            Reflect.apply(Reflect.get(instance, key), instance, [argument]);
          const listener = { label, call };
          if (decorator === 'OnElected') {
            election.onElected(listener);
          } else {
            election.onDeposed(listener);
          }
        }
      }
    }
    throwFaults([...new Set(faults)]);
  }
}
