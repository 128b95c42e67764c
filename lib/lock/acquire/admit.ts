/** The wait of a call, before its acquiring write, until this process can renew one more lock. */
import { waitUntil } from '../abort-signals.js';
import type { Permit } from '../admission.js';
import type { EngineContext } from '../engine-context.js';
import type { LocalLease } from '../lease/local-lease.js';
import type { AcquireCall } from './acquire-call.js';

export class CallAdmission {
  /** From the admission of an attempt to its end, or to the acquisition. */
  private permit: Permit | undefined;

  constructor(
    private readonly context: EngineContext,
    private readonly local: LocalLease,
    private readonly call: AcquireCall,
    /** The renewals a second that the lock will need. */
    private readonly renewals: number,
  ) {}

  /**
   * Waits until this process can renew one more lock.
   *
   * @returns false if the record has changed meanwhile, and must be judged again
   * @throws LockNotAcquiredError `saturated` if the call does not wait, or for no longer; the signal's reason
   */
  async admit(): Promise<boolean> {
    const { call, local, renewals } = this;
    const { admission } = this.context;
    // After a handover the lock stays in this process, which has renewed it before.
    this.permit ??=
      local.endHandover === undefined
        ? admission.admitAtOnce(renewals)
        : admission.newPermit(renewals);
    if (this.permit === undefined) {
      call.isHeldBack = true;
      try {
        this.permit = await this.apply();
      } finally {
        call.isHeldBack = false;
      }
    }
    return this.permit !== undefined;
  }

  private async apply(): Promise<Permit | undefined> {
    const { local, call, renewals } = this;
    const { admission } = this.context;
    const { lock, policy } = call;
    let permit: Permit | undefined;
    let isRefused = false;
    await waitUntil((done) => {
      const withdraw = admission.apply({
        lock,
        renewals,
        waits: () => policy.waits || policy.timeLeft > 0,
        admitted: (given) => {
          permit = given;
          done();
        },
        refused: () => {
          isRefused = true;
          done();
        },
      });
      const unlisten = local.listen({ recordSeen: done, recordGone: done });
      return () => {
        withdraw();
        unlisten();
      };
    }, call.signal);
    if (isRefused) {
      policy.refuseClaimed();
      throw call.saturated();
    }
    return permit;
  }

  /**
   * R11: admits a lock that the record names this call as the holder of, which does not wait.
   *
   * @param mustBe whether a write of the call may have taken it, so that it is not passed on
   * @returns false if this process can't renew it
   */
  admitHeld(mustBe: boolean): boolean {
    const { admission } = this.context;
    this.permit ??= mustBe
      ? admission.newPermit(this.renewals)
      : admission.tryAdmit(this.renewals);
    return this.permit !== undefined;
  }

  /** The lock is acquired. @returns its permit */
  use(): Permit {
    const permit = this.permit!;
    this.permit = undefined;
    permit.used();
    return permit;
  }

  /** The attempt has ended. */
  end(): void {
    this.permit?.end();
    this.permit = undefined;
  }
}
