/** Runs one combination, and tells what is to be compared. */
import { describeMetadata } from './metadata.js';
import {
  CombinationRun,
  type Combination,
  type LockUse,
  type Outcome,
  type Placement,
  type Services,
} from './combination-run.js';

/** All that must be the same with the lock and without. */
export interface Observation extends Omit<Outcome, 'method'> {
  readonly metadata: unknown;
}

/** Runs it in an application of its own. */
export async function observe(
  combination: Combination,
  placement: Placement,
  services: Services,
): Promise<{ observation: Observation; lockUse: LockUse }> {
  await using run = new CombinationRun(placement, services);
  const { method, ...outcome } = await combination(run);
  return {
    observation: { ...outcome, metadata: describeMetadata(...method) },
    lockUse: await run.lockUse(),
  };
}
