/**
 * R12: how a lock record names the session under which its holder holds it, and what is known of such a session.
 * A session is a Lease that a process renews instead of the locks that it holds.
 */
import type { Lease, LeasePatch, StoredLease } from '../../kube/lease-store.js';

/**
 * `<name of the session's Lease> <its uid> <its duration in seconds> by <holder identity>`. Valid only for that
 * holder, since other clients keep annotations.
 */
export const SESSION = 'nestjs-k8s-lock/session';
/** The label of a session's Lease. */
export const IS_SESSION = 'nestjs-k8s-lock/is-session';

/** On a session's Lease, `<name> <resourceVersion>` of a Lease that its process is to look at. */
const LOOK_AT = 'nestjs-k8s-lock/look-at';

const VALUE = /^([-.a-z0-9]{1,253}) (\S{1,64}) (\d{1,9}) by (.+)$/s;

/** Identifies a session among those of a namespace. */
export interface SessionReference {
  /** The name of its Lease. */
  readonly name: string;
  readonly uid: string;
  /** Milliseconds after which it has ended unless it is renewed. */
  readonly duration: number;
}

/** What this process knows of a session. */
export type SessionVerdict = {
  /** As in the verdict of a record. */
  readonly aliveAt: number;
} & (
  | {
      /** It can't be renewed any more, so its locks may be taken. */
      readonly hasEnded: true;
      /** Monotonic time since which this process knows. */
      readonly since: number;
    }
  | {
      readonly hasEnded: false;
      /** Monotonic time at which it may be ended if it is not renewed; undefined = never. */
      readonly expiresAt: number | undefined;
      /** As in the verdict of a record. */
      readonly wasSeenAlive: boolean;
    }
);

/** A session under which others hold locks, as this process observes it. */
export interface ObservableSession {
  judge(): SessionVerdict;
  /** Whether its watch has told of a change, so that nothing on the way keeps changes back. */
  readonly isToldOfChanges: boolean;
  /** Observes the session until the returned function is called; `onNews` is called after each observation. */
  observe(onNews: () => void): () => void;
  /**
   * Reads the session unless its state is known: observed now, or read at or after the monotonic time `since`. Ends
   * it if it has expired.
   *
   * @returns whether that may have changed the verdict
   * @throws LeaseStoreError, or the signal's reason
   */
  readOrEnd(since: number, signal: AbortSignal): Promise<boolean>;
}

/** R12: the session under which the present holder holds the record. */
export function sessionOf(lease: Lease): SessionReference | undefined {
  const [, name, uid, seconds, by] =
    VALUE.exec(lease.metadata.annotations?.[SESSION] ?? '') ?? [];
  return by !== undefined && by === lease.spec?.holderIdentity
    ? {
        name: name!,
        uid: uid!,
        duration: Math.max(1, Number(seconds)) * 1_000,
      }
    : undefined;
}

/** The annotations of a record that `identity` holds, under a session or not. */
export function withSession(
  annotations: Readonly<Record<string, string>> | null | undefined,
  identity: string,
  session: SessionReference | undefined,
): Record<string, string> {
  const { [SESSION]: _session, ...others } = annotations ?? {};
  if (session === undefined) {
    return others;
  }
  const { name, uid, duration } = session;
  const seconds = Math.ceil(duration / 1_000);
  return { ...others, [SESSION]: `${name} ${uid} ${seconds} by ${identity}` };
}

/** Asks the process of the session to look at a lock, which was taken from it by force. */
export function askToLookAt(
  { uid }: SessionReference,
  { metadata }: StoredLease,
): LeasePatch {
  const asked = `${metadata.name} ${metadata.resourceVersion}`;
  return {
    type: 'merge',
    body: { metadata: { uid, annotations: { [LOOK_AT]: asked } } },
  };
}

/** The most recent request of {@link askToLookAt}. */
export function askedToLookAt({ metadata }: Lease): string | undefined {
  return metadata.annotations?.[LOOK_AT];
}

/** Whether the Lease is a session. */
export function isSession({ metadata }: Lease): boolean {
  return metadata.labels?.[IS_SESSION] !== undefined;
}
