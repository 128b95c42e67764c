/**
 * One run of the fault suite: worker processes contend for a few locks on a real API server while
 * faults are injected; then all faults end, everybody must get every lock, and what was left behind
 * is judged.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { check, type Verdict } from './checker.js';
import type { Evidence } from './evidence.js';
import { FAULT_NAMES, type FaultName } from './fault-plan.js';
import { FaultRig } from './fault-rig.js';
import { holderOf, isKept } from './histories.js';
import {
  SESSION_LEASE,
  type ElectionProfile,
  type LockProfile,
} from './programs/messages.js';

export interface FaultRunOptions {
  readonly seed: string;
  readonly processes: number;
  /** Milliseconds during which faults are injected. */
  readonly duration: number;
  /** Milliseconds between two faults that come one after the other, on average. */
  readonly gap: number;
  /** A build of the package and of the programs. */
  readonly build: string;
  /** What the processes contend for beside the election, if not for everything that there is. */
  readonly locks?: readonly LockProfile[];
  /** The faults that are injected, if not all. */
  readonly only?: readonly FaultName[];
  /** Milliseconds within which everybody must have had everything when all faults are over. */
  readonly servedWithin?: number;
}

export interface FaultRun {
  readonly evidence: Evidence;
  readonly verdict: Verdict;
  /** Faults that could not be injected, and why. */
  readonly notInjected: readonly string[];
}

const CALLERS = 3;
export const ELECTION: ElectionProfile = {
  name: 'controller',
  leaseDuration: SESSION_LEASE,
};

export const SEMAPHORE: LockProfile = {
  name: 'export',
  weight: 6,
  options: { leaseDuration: SESSION_LEASE, permits: 2 },
};
const LOCKS: readonly LockProfile[] = [
  { name: 'ledger', weight: 4, options: { leaseDuration: SESSION_LEASE } },
  { name: 'billing', weight: 4, options: { leaseDuration: SESSION_LEASE } },
  { name: 'mailer', weight: 4, options: { leaseDuration: 3_000 } },
  // Longer than a grant.
  { name: 'report', weight: 4, options: { leaseDuration: 4_000 } },
  {
    name: 'import',
    weight: 4,
    options: { leaseDuration: SESSION_LEASE, deleteOnRelease: true },
  },
  SEMAPHORE,
  { name: 'eternal', weight: 1, options: { leaseDuration: 'infinite' } },
];

const SERVED_WITHIN = 120_000;
const TIME_TO_END = 20_000;

export async function runFaults({
  duration,
  gap,
  locks = LOCKS,
  only = FAULT_NAMES,
  servedWithin = SERVED_WITHIN,
  ...options
}: FaultRunOptions): Promise<FaultRun> {
  await using rig = await FaultRig.start({
    ...options,
    locks,
    election: ELECTION,
    callers: locks.length > 0 ? CALLERS : 0,
  });
  await rig.injectFaults(duration, gap, only);
  await serveAll(rig, [...locks, ELECTION], servedWithin);
  await rig.workforce.finish(TIME_TO_END);
  await findLeftTaken(rig);
  const evidence = rig.evidence();
  const { notInjected } = rig;
  return { evidence, verdict: check(evidence), notInjected };
}

/** Waits until every process has had every lock, and has led. */
async function serveAll(
  { workforce }: FaultRig,
  all: readonly { readonly name: string }[],
  servedWithin: number,
): Promise<void> {
  const missing = new Map(
    workforce.alive.map(({ name }) => [
      name,
      new Set(all.map((each) => each.name)),
    ]),
  );
  const served = new Promise<void>((resolve) => {
    workforce.listen(({ name }, report) => {
      if (report.type === 'served') {
        missing.get(name)?.delete(report.lock);
        if ([...missing.values()].every(({ size }) => size === 0)) {
          resolve();
        }
      }
    });
  });
  workforce.turnTo('calm');
  const given = new AbortController();
  const late = sleep(servedWithin, undefined, { signal: given.signal }).catch(
    () => undefined,
  );
  await Promise.race([served, late]);
  given.abort();
  for (const [name, [lock]] of missing) {
    if (lock !== undefined) {
      workforce.add(
        'never-acquired',
        `${name} did not acquire ${lock} within ${servedWithin} ms after all faults were over`,
        lock,
      );
    }
  }
}

/** Every process has given back what it had, if only at the end of a minHold: nobody may have wanted that slot since. */
async function findLeftTaken({
  workforce,
  kubectl,
  leases,
}: FaultRig): Promise<void> {
  const found = await Promise.all(leases.map((name) => kubectl.get(name)));
  for (const lease of found) {
    if (lease && holderOf(lease) !== '' && !isKept(lease)) {
      workforce.add(
        'left-taken',
        `${lease.metadata.name} still names ${holderOf(lease)}, though everything has ended`,
        lease.metadata.name,
      );
    }
  }
}
