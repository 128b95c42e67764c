/**
 * R11: the line of the processes that wait for a lock. A place in it is a ticket, an annotation of the Lease.
 * The releaser grants the lock to the first in line: it writes the identity of that ticket as the holder.
 */
import type { Lease } from '../../kube/lease-store.js';

/** The annotation of a ticket: this prefix, and the nonce of its holder identity. */
const TICKET = 'line.nestjs-k8s-lock/';
/**
 * `<milliseconds> <milliseconds> <holder identity>`: the holder has not confirmed its grant. `open <transitions>` on
 * a free record: it was left free for clients that do not know the line. Valid only for that holder, or these
 * leaseTransitions, since other clients keep annotations.
 */
export const GRANT = 'nestjs-k8s-lock/grant';

/**
 * The label that says for which of the processes in line the record is: {@link ALL}, or the tag of that to which the lock
 * is granted, which spares the others the event. Valid only for that holder, since other clients keep labels. It is a
 * hint: a wrong one costs time.
 */
const WAKES = 'nestjs-k8s-lock/wakes';
const ALL = 'all';
/** With fewer processes in line behind it, a grant is for all. */
const MANY_IN_LINE = 3;

/** How long a grant lasts until its holder renews it, in milliseconds; less if the lease is shorter. */
export const GRANT_DURATION = 3_000;
/**
 * From this many tickets on, a process that comes waits outside the line: each ticket makes every write longer, and each
 * process in line gets every write.
 */
export const CROWDED = 32;
/** From this many tickets on, nobody enrols, however long it has waited outside. */
export const MOST_TICKETS = 64;

const TICKET_VALUE = /^(\d{1,20}) (\d{1,10}) ([!-~]{1,300})$/;
const TAGGED_IDENTITY =
  /_[\da-f]{8}-[\da-f]{4}-8[\da-f]{3}-[\da-f]{4}-[\da-f]{4}([\da-f]{8})$/;
const GRANT_VALUE = /^(\d{1,10}) (\d{1,10}) ([!-~]{1,300})$/;

/** A place in line. */
export interface Ticket {
  /** The holder identity under which the lock is granted. */
  readonly identity: string;
  /** Orders the line: the resourceVersion that the process had seen when it enrolled. */
  readonly number: bigint;
  /** leaseDurationSeconds of the grant. */
  readonly seconds: number;
}

/** What was read from a record, which is never changed. */
const lines = new WeakMap<Lease, readonly Ticket[]>();

/** R11: the line, first in line first. Malformed tickets are ignored, since any client may write annotations. */
export function lineOf(lease: Lease): readonly Ticket[] {
  let line = lines.get(lease);
  if (line === undefined) {
    line = Object.entries(lease.metadata.annotations ?? {})
      .flatMap(([key, value]) => readTicket(key, value) ?? [])
      .toSorted((a, b) => (isBefore(a, b) ? -1 : 1));
    lines.set(lease, line);
  }
  return line;
}

/** The number of tickets before that of this holder identity; undefined if it is not in line. */
export function positionOf(
  lease: Lease,
  identity: string | undefined,
): number | undefined {
  const position = lineOf(lease).findIndex(
    (ticket) => ticket.identity === identity,
  );
  return position === -1 ? undefined : position;
}

function isBefore(a: Ticket, b: Ticket): boolean {
  return a.number === b.number
    ? ticketKey(a) < ticketKey(b)
    : a.number < b.number;
}

function readTicket(key: string, value: string): Ticket | undefined {
  const [, number, seconds, identity] =
    (key.startsWith(TICKET) && TICKET_VALUE.exec(value)) || [];
  const ticket = identity !== undefined && {
    identity,
    number: BigInt(number!),
    seconds: Math.max(1, Number(seconds)),
  };
  return ticket && ticketKey(ticket) === key ? ticket : undefined;
}

/** The name of the annotation of a ticket. */
export function ticketKey({ identity }: Pick<Ticket, 'identity'>): string {
  return `${TICKET}${identity.slice(identity.lastIndexOf('_') + 1)}`;
}

/** The annotation of a ticket. */
export function ticketAnnotation(ticket: Ticket): Record<string, string> {
  const { number, seconds, identity } = ticket;
  return { [ticketKey(ticket)]: `${number} ${seconds} ${identity}` };
}

/** An unconfirmed grant. */
export interface Grant {
  /** Milliseconds after which the grant lapses if the record does not change. */
  readonly duration: number;
  /** For how many milliseconds the lock had passed from holder to holder without being free. */
  readonly inRow: number;
}

/** The grant that the present holder has not confirmed. */
export function grantOf(lease: Lease): Grant | undefined {
  const [, duration, inRow, identity] =
    GRANT_VALUE.exec(lease.metadata.annotations?.[GRANT] ?? '') ?? [];
  return identity !== undefined && identity === lease.spec?.holderIdentity
    ? { duration: Number(duration), inRow: Number(inRow) }
    : undefined;
}

/**
 * Whether a held record kept what {@link GRANT} said before: this package removes it with each acquisition,
 * so that the holder does not know the line.
 */
export function keptGrant(lease: Lease): boolean {
  return (
    lease.metadata.annotations?.[GRANT] !== undefined &&
    grantOf(lease) === undefined
  );
}

/** The value of {@link GRANT}. */
export function grantValue(
  identity: string,
  { duration, inRow }: Grant,
): string {
  return `${duration} ${Math.round(inRow)} ${identity}`;
}

/** Whether the record was left free for clients that do not know the line. */
export function isLeftFree({ metadata, spec }: Lease): boolean {
  return (
    metadata.annotations?.[GRANT] === leftFreeValue(spec?.leaseTransitions ?? 0)
  );
}

/** The value of {@link GRANT} in a record that is left free. */
export function leftFreeValue(transitions: number): string {
  return `open ${transitions}`;
}

/**
 * R11, A36: the tickets that an acquisition under this identity removes: its own, and those before it, whose processes did not
 * take the lock. After a lapsed grant all of them, since others may be dead too: the living enrol again.
 */
export function ticketsToDrop(
  lease: Lease,
  identity: string,
  hasGrantLapsed: boolean,
): readonly Ticket[] {
  const line = lineOf(lease);
  return hasGrantLapsed
    ? line
    : line.slice(0, (positionOf(lease, identity) ?? -1) + 1);
}

/** The tag of the process to which a holder identity belongs; undefined if it is of a version without {@link WAKES}. */
export function tagOf(identity: string): string | undefined {
  return TAGGED_IDENTITY.exec(identity)?.[1];
}

/** A38: the record with the right {@link WAKES}. There is none until a grant is for one process alone. */
export function withWakes<T extends Lease>(lease: T): T {
  const { labels } = lease.metadata;
  const isForOne = grantOf(lease) && lineOf(lease).length >= MANY_IN_LINE;
  const tag = isForOne ? tagOf(lease.spec!.holderIdentity!) : undefined;
  const present = labels?.[WAKES];
  const wakes = tag ?? (present === undefined ? undefined : ALL);
  return wakes === present
    ? lease
    : {
        ...lease,
        metadata: { ...lease.metadata, labels: { ...labels, [WAKES]: wakes } },
      };
}

/** R11: whether the record says for whom it is. If not, who waits needs to be told of all. */
export function hasWakes({ metadata, spec }: Lease): boolean {
  const wakes = metadata.labels?.[WAKES];
  const isOfHolder = wakes === tagOf(spec?.holderIdentity ?? '');
  return wakes !== undefined && (wakes === ALL || isOfHolder);
}

/** R11: selects the records that are for the process with this tag, as {@link isFor} does. */
export function selectorFor(tag: string): string {
  return `${WAKES} in (${ALL},${tag})`;
}

/** R11: whether the record is for the process with this tag. */
export function isFor({ metadata }: Lease, tag: string): boolean {
  const wakes = metadata.labels?.[WAKES];
  return wakes === ALL || wakes === tag;
}
