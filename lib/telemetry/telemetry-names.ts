/**
 * The names of all metrics, attributes and events, by OpenTelemetry's semantic conventions: those that
 * the conventions know, and for the rest a namespace of this package's own.
 *
 * A holder's identity, a fencing token, or what else is different each time has no name here, and is
 * never recorded.
 */
import type { Attributes } from '@opentelemetry/api';
import type { LockReference } from '../lock.errors.js';
import type { CallEnd } from '../lock/acquire/followed-call.js';

/** The instrumentation scope. */
export const SCOPE = 'nestjs-k8s-lock';

export const METRIC = {
  held: 'k8s_lock.held',
  waiting: 'k8s_lock.waiting',
  acquisitions: 'k8s_lock.acquisitions',
  waitDuration: 'k8s_lock.wait.duration',
  holdDuration: 'k8s_lock.hold.duration',
  renewals: 'k8s_lock.renewals',
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

/** What came of a call; the conventions write values of several words with underscores. */
export function outcomeOf(end: CallEnd | 'acquired'): string {
  return end.replaceAll('-', '_');
}

/** What tells the time series of locks apart. */
export function seriesOf(
  { namespace }: Pick<LockReference, 'namespace'>,
  label: string | undefined,
): Attributes {
  return {
    [ATTRIBUTE.namespace]: namespace,
    ...(label !== undefined && { [ATTRIBUTE.lockName]: label }),
  };
}
