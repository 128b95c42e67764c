/** R11: the places in line of a record, and its unconfirmed grant. */
import type { LeaseRecord } from './evidence.js';

/** The annotation of a place in line begins with this. */
const TICKET = 'line.nestjs-k8s-lock/';
const GRANT = 'nestjs-k8s-lock/grant';

/** A place in line. */
export interface Ticket {
  /** The name of its annotation. */
  readonly key: string;
  readonly number: bigint;
  readonly seconds: number;
  readonly identity: string;
}

export function isTicket(annotation: string): boolean {
  return annotation.startsWith(TICKET);
}

/** The name of the annotation of a place that is for this holder. */
export function ticketKey(identity: string): string {
  return `${TICKET}${identity.slice(identity.lastIndexOf('_') + 1)}`;
}

/** Of these annotations. */
export function ticketsIn(
  annotations: Readonly<Record<string, string>> = {},
): Ticket[] {
  return Object.entries(annotations)
    .filter(([key]) => isTicket(key))
    .map(([key, value]) => {
      const [number = '', seconds = '', identity = ''] = value.split(' ');
      return {
        key,
        number: BigInt(number),
        seconds: Number(seconds),
        identity,
      };
    });
}

/** Whether the one is before the other in line. */
export function isBefore(one: Ticket, other: Ticket): boolean {
  return one.number === other.number
    ? one.key < other.key
    : one.number < other.number;
}

/** Milliseconds for which its holder has it unless it confirms; undefined: there is nothing to confirm. */
export function grantedFor(lease: LeaseRecord | undefined): number | undefined {
  const [duration, , holder] =
    lease?.metadata.annotations?.[GRANT]?.split(' ') ?? [];
  return holder !== undefined && holder === lease?.spec?.holderIdentity
    ? Number(duration)
    : undefined;
}

/** The process of a holder identity. */
export function processOf(identity: string): string {
  return identity.slice(0, identity.lastIndexOf('_'));
}
