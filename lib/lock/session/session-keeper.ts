/** R12: opens the session of this process in one namespace when a lock needs it, and a new one after each end. */
import { randomUUID } from 'node:crypto';
import { LeaseStoreError } from '../../kube/lease-store.js';
import type { ResolvedLockOptions } from '../../k8s-lock.options.js';
import { LockBackendError, LockNotAcquiredError } from '../../lock.errors.js';
import { AcquireCall } from '../acquire/acquire-call.js';
import { Acquirer } from '../acquire/acquirer.js';
import type { EngineContext } from '../engine-context.js';
import type { HeldSession, SessionOpener } from '../hold/held-session.js';
import { LeaseHolder } from '../hold/lease-holder.js';
import { encodeLockName } from '../lease-name.js';
import { LocalLease } from '../lease/local-lease.js';
import { OwnSession } from './own-session.js';

/** The longest part of the client id in the name of a session, in characters. */
const LONGEST_READABLE = 60;

export class SessionKeeper implements SessionOpener {
  private readonly context: EngineContext;
  private readonly options: ResolvedLockOptions;
  /** The sessions whose Lease may exist, those that were lost included. */
  private readonly sessions = new Set<OwnSession>();
  private current: OwnSession | undefined;
  private opening: Promise<OwnSession> | undefined;
  private call: AcquireCall | undefined;

  /** @param timing the leaseDuration, renewInterval and safetyMargin of sessions */
  constructor(
    context: EngineContext,
    private readonly namespace: string,
    timing: ResolvedLockOptions,
  ) {
    // A session is no lock that anybody asked for: of its events, only failed requests concern others.
    this.context = {
      ...context,
      emit: (event) => event.type === 'backend-error' && context.emit(event),
    };
    this.options = {
      ...timing,
      namespace,
      autoRenew: true,
      maxHold: undefined,
      minHold: 0,
      waitTimeout: context.requestTimeout,
      createLease: true,
      deleteOnRelease: true,
      reentrant: false,
    };
  }

  open(): Promise<HeldSession> {
    if (this.current?.isHeld) {
      return Promise.resolve(this.current);
    }
    this.opening ??= this.openNew().finally(() => {
      this.opening = undefined;
    });
    return this.opening;
  }

  /** The session of this uid, if it is or was one of this process. */
  find(uid: string): HeldSession | undefined {
    return Array.from(this.sessions).find(
      ({ reference }) => reference.uid === uid,
    );
  }

  /** Ends the opening of a session, since the application is closing. */
  beginClosing(): void {
    this.call?.close();
  }

  /** Deletes the sessions. Never rejects. */
  async close(): Promise<void> {
    await this.opening?.catch(() => undefined);
    await Promise.all(Array.from(this.sessions, (session) => session.end()));
  }

  private async openNew(): Promise<OwnSession> {
    const { context, namespace, options } = this;
    // A new name for each attempt, so that no late write brings a session back.
    const leaseName = newSessionName(context.clientId);
    const lock = { name: leaseName, namespace, leaseName };
    const local = new LocalLease(context, lock);
    const call = new AcquireCall(context, local, {
      lock,
      options,
      mode: 'wait',
    });
    this.call = call;
    try {
      const acquirer = new Acquirer(context, local, call, { isSession: true });
      const acquisition = await acquirer.run();
      const holder = new LeaseHolder(
        context,
        local,
        lock,
        options,
        acquisition,
      );
      const { uid } = acquisition.lease.metadata;
      const session = new OwnSession(holder, local, uid, () =>
        this.ended(session),
      );
      this.sessions.add(session);
      this.current = session;
      return session;
    } catch (error) {
      throw toStoreError(error);
    } finally {
      this.call = undefined;
    }
  }

  private ended(session: OwnSession): void {
    this.sessions.delete(session);
    if (this.current === session) {
      this.current = undefined;
    }
  }
}

/** No lock name is encoded to such a name, except by chance. */
function newSessionName(clientId: string): string {
  const readable = encodeLockName(`session-${clientId.toLowerCase()}`)
    .slice(0, LONGEST_READABLE)
    .replace(/[^a-z0-9]+$/, '');
  return `${readable}--${randomUUID().replaceAll('-', '')}`;
}

/** Each call for a lock repeats a failed opening as it repeats its own requests. */
function toStoreError(error: unknown): unknown {
  if (error instanceof LockBackendError) {
    return error.cause instanceof LeaseStoreError ? error.cause : error;
  }
  return error instanceof LockNotAcquiredError && error.reason === 'timeout'
    ? new LeaseStoreError(
        'timeout',
        `can't open a session: ${error.explanation}`,
      )
    : error;
}
