/** Calls for fires, one a minute, and the processes that make them. */
import {
  resolveLockOptions,
  type LockOptions,
} from '../../lib/k8s-lock.options.js';
import { acquireAndBegin } from '../../lib/lock/acquire/begin-work.js';
import type { FireClaim } from '../../lib/lock/record/fire-claim.js';
import type { LockHandle } from '../../lib/lock/hold/lock-handle.js';
import type { AcquireMode } from '../../lib/lock/acquire/wait-policy.js';
import { settled } from './controlled-clock.js';
import type { MemoryLeaseStore } from './memory-lease-store.js';
import { Cluster, JOB, type LockProcess } from './processes.js';

export type Pod = LockProcess<MemoryLeaseStore>;

export const CLAIM = 'nestjs-k8s-lock/fire';
export const MINUTE = 60_000;
/** Planned times, one a minute. */
const fireAt = (minute: number): number =>
  Date.parse('2026-01-01T00:00:00Z') + minute * MINUTE;

interface Fire {
  minute: number;
  retry?: boolean;
  mode?: AcquireMode;
  options?: LockOptions;
  signal?: AbortSignal;
}

export const claimOf = ({ minute, retry = false }: Fire): FireClaim => ({
  at: fireAt(minute),
  latest: fireAt(minute + 60),
  retry,
  ownIdentities: new Set(),
});

/** A call for the fire of this minute, up to the moment at which its work begins. */
export async function fire(
  pod: LockProcess,
  call: Fire,
  claim = claimOf(call),
): Promise<LockHandle> {
  const lock = await acquireAndBegin(
    pod.engine,
    claim,
    async ({ waitTimeout }) => {
      const round: Fire =
        waitTimeout === undefined
          ? call
          : {
              ...call,
              mode: 'wait',
              options: { ...call.options, waitTimeout },
            };
      return claimFire(pod, round, claim);
    },
  );
  return lock!;
}

/** A call for the fire of this minute, before its work begins. */
export function claimFire(
  pod: LockProcess,
  call: Fire,
  claim = claimOf(call),
): Promise<LockHandle> {
  return pod.engine.acquire({
    lock: { name: JOB, namespace: 'default', leaseName: JOB },
    options: resolveLockOptions(call.options),
    mode: call.mode ?? 'skip',
    signal: call.signal,
    claim,
  });
}

/** Pods that watch the record, as the static names of methods that skip are watched. */
export async function observed() {
  const cluster = new Cluster();
  cluster.writeSpec({ leaseTransitions: 0 });
  const [a, b, c] = [
    cluster.process('a'),
    cluster.process('b'),
    cluster.process('c'),
  ];
  for (const pod of [a, b, c]) {
    pod.observe();
  }
  await settled();
  const annotation = () => cluster.lease()?.metadata.annotations?.[CLAIM];
  return { cluster, a, b, c, annotation, clock: cluster.clock };
}

/** Nothing of it reaches the API server any more. */
export const die = ({ store }: Pod): void =>
  store.plan({ breaks: 'unsent' }, ['get', 'create', 'update']);
