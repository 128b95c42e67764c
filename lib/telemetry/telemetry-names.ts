/**
 * The names of all metrics, attributes and span events. Names of OpenTelemetry's semantic conventions are
 * used if there are any; the others begin with `k8s_lock`.
 *
 * Values of high cardinality (holder identities, fencing tokens) have no name here and are never recorded.
 */
import type { Attributes } from '@opentelemetry/api';
import type { LockReference } from '../lock.errors.js';
import type { CallEnd } from '../lock/acquire/outcome.js';

/** The instrumentation scope. */
export const SCOPE = 'nestjs-k8s-lock';

/** Each comment lists the attributes besides namespace and lock name. */
export const METRIC = {
  held: 'k8s_lock.held',
  waiting: 'k8s_lock.waiting',
  oldestWait: 'k8s_lock.wait.oldest',
  /** `k8s_lock.acquisition.outcome` */
  acquisitions: 'k8s_lock.acquisitions',
  /** `k8s_lock.acquisition.outcome` */
  waitDuration: 'k8s_lock.wait.duration',
  /** `error.type`: the reason, if the lock was lost */
  holdDuration: 'k8s_lock.hold.duration',
  /** `error.type`, if the renewal failed */
  renewals: 'k8s_lock.renewals',
  renewalMargin: 'k8s_lock.renewal.margin',
  firePlanned: 'k8s_lock.fire.planned',
  fireClaimed: 'k8s_lock.fire.claimed',
  saturated: 'k8s_lock.saturated',
  /** `k8s_lock.request.verb`, `http.response.status_code`, and `error.type` if the request failed */
  requestDuration: 'k8s_lock.request.duration',
} as const;

export const ATTRIBUTE = {
  lockName: 'k8s_lock.name',
  leaseName: 'k8s_lock.lease.name',
  outcome: 'k8s_lock.acquisition.outcome',
  verb: 'k8s_lock.request.verb',
  waited: 'k8s_lock.wait.duration',
  namespace: 'k8s.namespace.name',
  errorType: 'error.type',
  status: 'http.response.status_code',
} as const;

export const SPAN_EVENT = {
  acquired: 'k8s_lock.acquired',
  lost: 'k8s_lock.lost',
} as const;

/** The outcome of a call, with underscores as the conventions require. */
export function outcomeOf(end: CallEnd | 'acquired'): string {
  return end.replaceAll('-', '_');
}

/** The attributes that identify the time series of a lock. */
export function seriesOf(
  { namespace }: Pick<LockReference, 'namespace'>,
  label: string | undefined,
): Attributes {
  return {
    [ATTRIBUTE.namespace]: namespace,
    ...(label !== undefined && { [ATTRIBUTE.lockName]: label }),
  };
}
