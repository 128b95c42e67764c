/** Defines the metrics, and records measurements. */
import type {
  Attributes,
  Counter,
  Histogram,
  Meter,
  UpDownCounter,
} from '@opentelemetry/api';
import type { ApiRequestEvent } from '../lock.events.js';
import type { CallEnd } from '../lock/acquire/outcome.js';
import { ATTRIBUTE, METRIC, outcomeOf } from './telemetry-names.js';

/** Bucket bounds in seconds. Requests use those of the conventions for HTTP; waits and holds last longer. */
const REQUEST_BOUNDS = [
  0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];
const LOCK_BOUNDS = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900,
  3_600,
];

export class LockMeter {
  private readonly held: UpDownCounter;
  private readonly waiting: UpDownCounter;
  private readonly acquisitions: Counter;
  private readonly waitDuration: Histogram;
  private readonly holdDuration: Histogram;
  private readonly renewals: Counter;
  private readonly saturatedProcesses: UpDownCounter;
  private readonly requestDuration: Histogram;

  constructor(meter: Meter) {
    this.held = meter.createUpDownCounter(METRIC.held, {
      description: 'Locks that this process holds.',
      unit: '{lock}',
    });
    this.waiting = meter.createUpDownCounter(METRIC.waiting, {
      description: 'Calls that have asked for a lock and wait for the outcome.',
      unit: '{call}',
    });
    this.acquisitions = meter.createCounter(METRIC.acquisitions, {
      description: 'Calls that asked for a lock, by outcome.',
      unit: '{acquisition}',
    });
    this.waitDuration = meter.createHistogram(METRIC.waitDuration, {
      description: 'Time from the call to its outcome.',
      unit: 's',
      advice: { explicitBucketBoundaries: LOCK_BOUNDS },
    });
    this.holdDuration = meter.createHistogram(METRIC.holdDuration, {
      description:
        'Time from the acquisition of a lock to its release or loss.',
      unit: 's',
      advice: { explicitBucketBoundaries: LOCK_BOUNDS },
    });
    this.renewals = meter.createCounter(METRIC.renewals, {
      description: 'Renewals of held leases.',
      unit: '{renewal}',
    });
    this.saturatedProcesses = meter.createUpDownCounter(METRIC.saturated, {
      description: '1 while this process can renew no more locks, else 0.',
      unit: '{process}',
    });
    this.requestDuration = meter.createHistogram(METRIC.requestDuration, {
      description: 'Duration of requests to the Kubernetes API server.',
      unit: 's',
      advice: { explicitBucketBoundaries: REQUEST_BOUNDS },
    });
  }

  called(series: Attributes): void {
    this.waiting.add(1, series);
  }

  answered(
    series: Attributes,
    end: CallEnd | 'acquired',
    waited: number,
  ): void {
    this.waiting.add(-1, series);
    const attributes = { ...series, [ATTRIBUTE.outcome]: outcomeOf(end) };
    this.acquisitions.add(1, attributes);
    this.waitDuration.record(waited / 1_000, attributes);
    if (end === 'acquired') {
      this.held.add(1, series);
    }
  }

  /** @param loss the reason if the lock was lost */
  ended(series: Attributes, held: number, loss?: string): void {
    this.held.add(-1, series);
    this.holdDuration.record(held / 1_000, withError(series, loss));
  }

  renewed(series: Attributes, failure?: string): void {
    this.renewals.add(1, withError(series, failure));
  }

  saturated(isSaturated: boolean): void {
    this.saturatedProcesses.add(isSaturated ? 1 : -1);
  }

  requested({ verb, namespace, duration, status, failure }: ApiRequestEvent) {
    const error =
      failure ?? (status && status >= 400 ? String(status) : undefined);
    this.requestDuration.record(duration / 1_000, {
      [ATTRIBUTE.verb]: verb,
      [ATTRIBUTE.namespace]: namespace,
      ...(status !== undefined && { [ATTRIBUTE.status]: status }),
      ...withError({}, error),
    });
  }
}

/** By the conventions a successful operation has no `error.type`. */
function withError(attributes: Attributes, type: string | undefined) {
  return type === undefined
    ? attributes
    : { ...attributes, [ATTRIBUTE.errorType]: type };
}
