/** Processes that wait for a lock, and what the record says of their places in line. */
import type { StoredLease } from '../../lib/kube/lease-store.js';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { settled, type Machine } from './controlled-clock.js';
import type { MemoryLeaseStore } from './memory-lease-store.js';
import {
  Cluster,
  JOB,
  outcomeOf,
  type LockProcess,
  type Outcome,
} from './processes.js';

export type Pod = LockProcess<MemoryLeaseStore>;

/** The annotations of tickets begin with it. */
export const TICKET = 'line.nestjs-k8s-lock/';
/** The annotation of a grant that is not confirmed, and of a record that is left free. */
export const GRANT = 'nestjs-k8s-lock/grant';

/** The right to patch is missing. */
export const FORBIDDEN = {
  refused: { reason: 'forbidden', status: 403 },
} as const;

/** A holder that watches, and other processes. */
export async function held(...names: string[]) {
  const cluster = new Cluster();
  const holder = cluster.process('holder');
  holder.observe();
  const lock = await holder.acquire();
  const pods = names.map((name) => cluster.process(name));
  return { cluster, clock: cluster.clock, holder, lock, pods };
}

/** Makes a process wait for the lock. */
export async function enrol(
  pod: Pod,
  options = {},
  signal?: AbortSignal,
): Promise<Outcome<LeaseLock>> {
  const waiting = outcomeOf(pod.acquire(JOB, options, signal));
  await settled();
  return waiting;
}

/** Makes a process enrol, and die. */
export async function enrolDead(cluster: Cluster, name: string): Promise<void> {
  const machine: Machine = cluster.clock.elsewhere();
  const pod = cluster.process(name, machine);
  await enrol(pod);
  machine.switchOff();
  pod.store.watchesWork = false;
  pod.store.plan({ appliedAfter: Infinity }, ['get', 'create', 'update']);
}

interface WrittenTicket {
  /** Without the nonce. */
  readonly client: string;
  readonly nonce: string;
  readonly number: bigint;
  readonly seconds: number;
}

/** The line as the record has it: by number, then by nonce. */
export function lineIn(lease: StoredLease | undefined): WrittenTicket[] {
  return Object.entries(lease?.metadata.annotations ?? {})
    .filter(([key]) => key.startsWith(TICKET))
    .map(([key, value]) => {
      const [number, seconds, identity] = value.split(' ');
      const nonce = key.slice(TICKET.length);
      return {
        client: identity!.slice(0, -nonce.length - 1),
        nonce,
        number: BigInt(number!),
        seconds: Number(seconds),
      };
    })
    .toSorted((a, b) => {
      const isFirst =
        a.number === b.number ? a.nonce < b.nonce : a.number < b.number;
      return isFirst ? -1 : 1;
    });
}

/** Whose tickets the record has, first in line first. */
export function inLine(cluster: Cluster): string[] {
  return lineIn(cluster.lease()).map(({ client }) => client);
}

/** Writes tickets as any client could. */
export function writeTickets(
  cluster: Cluster,
  tickets: Readonly<Record<string, string>>,
): void {
  cluster.write(({ metadata }) => {
    metadata.annotations = { ...metadata.annotations, ...tickets };
  });
}

/** A ticket of a process that nobody knows. */
export const ticketOf = (
  client: string,
  nonce: string,
  number: bigint | number,
  seconds = 15,
): Record<string, string> => ({
  [`${TICKET}${nonce}`]: `${number} ${seconds} ${client}_${nonce}`,
});
