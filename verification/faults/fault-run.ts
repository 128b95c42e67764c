/**
 * One run of the fault suite: worker processes contend for a few locks on a real API server while
 * faults are injected; then all faults end, everybody must get every lock, and what was left behind
 * is judged.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { check, type Verdict } from './checker.js';
import type { Evidence } from './evidence.js';
import { FaultRig } from './fault-rig.js';
import { holderOf } from './histories.js';
import { SESSION_LEASE, type LockProfile } from './programs/messages.js';

export interface FaultRunOptions {
  readonly seed: string;
  readonly processes: number;
  /** Milliseconds during which faults are injected. */
  readonly duration: number;
  /** Milliseconds between two faults that come one after the other, on average. */
  readonly gap: number;
  /** A build of the package and of the programs. */
  readonly build: string;
}

export interface FaultRun {
  readonly evidence: Evidence;
  readonly verdict: Verdict;
  /** Faults that could not be injected, and why. */
  readonly notInjected: readonly string[];
}

const CALLERS = 3;

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
  { name: 'eternal', weight: 1, options: { leaseDuration: 'infinite' } },
];

/** Milliseconds within which everybody must have had every lock when all faults are over. */
const LIVENESS = 120_000;
const TIME_TO_END = 20_000;

export async function runFaults({
  duration,
  gap,
  ...options
}: FaultRunOptions): Promise<FaultRun> {
  await using rig = await FaultRig.start({
    ...options,
    locks: LOCKS,
    callers: CALLERS,
  });
  await rig.injectFaults(duration, gap);
  await serveAll(rig);
  await rig.workforce.finish(TIME_TO_END);
  await findLeftTaken(rig);
  const evidence = rig.evidence();
  const { notInjected } = rig;
  return { evidence, verdict: check(evidence), notInjected };
}

/** Waits until every process has had every lock. */
async function serveAll({ workforce }: FaultRig): Promise<void> {
  const missing = new Map(
    workforce.alive.map(({ name }) => [
      name,
      new Set(LOCKS.map((lock) => lock.name)),
    ]),
  );
  const all = new Promise<void>((resolve) => {
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
  const patience = new AbortController();
  const late = sleep(LIVENESS, undefined, { signal: patience.signal }).catch(
    () => undefined,
  );
  await Promise.race([all, late]);
  patience.abort();
  for (const [name, [lock]] of missing) {
    if (lock !== undefined) {
      workforce.add(
        'never-acquired',
        `${name} did not acquire ${lock} within ${LIVENESS} ms after all faults were over`,
        lock,
      );
    }
  }
}

/** Every process has given back what it had. */
async function findLeftTaken({ workforce, kubectl }: FaultRig): Promise<void> {
  const leases = await Promise.all(LOCKS.map(({ name }) => kubectl.get(name)));
  for (const lease of leases) {
    if (holderOf(lease) !== '') {
      workforce.add(
        'left-taken',
        `${lease?.metadata.name} still names ${holderOf(lease)}, though everything has ended`,
        lease?.metadata.name,
      );
    }
  }
}
