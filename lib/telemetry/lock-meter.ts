/** Defines the metrics, and records measurements. */
import type {
  Attributes,
  Counter,
  Histogram,
  Meter,
  ObservableGauge,
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
const MARGIN_BOUNDS = [0.1, 0.25, 0.5, 0.75, 1];

/** A call that has asked for a lock and waits for the outcome. */
export interface WaitingCall {
  readonly series: Attributes;
  /** In milliseconds, by `performance.now()`. */
  readonly calledAt: number;
  /** The planned time that it claims, in milliseconds since 1970. */
  readonly fire: number | undefined;
}

/** What is read of the locks of one time series when metrics are collected. */
interface Level {
  readonly series: Attributes;
  /** First the one that has waited for longest. Calls for a fire are not among them. */
  readonly calls: Set<WaitingCall>;
  /** The latest planned times, in milliseconds since 1970; 0 = none. */
  planned: number;
  claimed: number;
}

export class LockMeter {
  private readonly held: UpDownCounter;
  private readonly waiting: UpDownCounter;
  private readonly oldestWait: ObservableGauge;
  private readonly acquisitions: Counter;
  private readonly waitDuration: Histogram;
  private readonly holdDuration: Histogram;
  private readonly renewals: Counter;
  private readonly renewalMargin: Histogram;
  private readonly firePlanned: ObservableGauge;
  private readonly fireClaimed: ObservableGauge;
  private readonly saturatedProcesses: UpDownCounter;
  private readonly requestDuration: Histogram;
  private readonly levels = new Map<string, Level>();

  constructor(meter: Meter) {
    this.held = meter.createUpDownCounter(METRIC.held, {
      description: 'Locks that this process holds.',
      unit: '{lock}',
    });
    this.waiting = meter.createUpDownCounter(METRIC.waiting, {
      description: 'Calls that have asked for a lock and wait for the outcome.',
      unit: '{call}',
    });
    this.oldestWait = meter.createObservableGauge(METRIC.oldestWait, {
      description:
        'Time that the call has waited which waits for longest; 0 if none waits. Calls of scheduled methods that claim their fire are left out: they may follow the run in another pod.',
      unit: 's',
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
    this.renewalMargin = meter.createHistogram(METRIC.renewalMargin, {
      description:
        'Part of the time from a renewal to the deadline that was left when the next one succeeded.',
      unit: '1',
      advice: { explicitBucketBoundaries: MARGIN_BOUNDS },
    });
    this.firePlanned = meter.createObservableGauge(METRIC.firePlanned, {
      description:
        'Planned time of the latest fire that came to this process, in seconds since 1970.',
      unit: 's',
    });
    this.fireClaimed = meter.createObservableGauge(METRIC.fireClaimed, {
      description:
        'Planned time of the latest fire that this process has claimed, or has found claimed by another one, in seconds since 1970; 0 if none.',
      unit: 's',
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
    this.observe();
  }

  private observe(): void {
    this.oldestWait.addCallback((result) => {
      const now = performance.now();
      for (const { series, calls } of this.levels.values()) {
        const [oldest] = calls;
        const waited = oldest === undefined ? 0 : now - oldest.calledAt;
        result.observe(waited / 1_000, series);
      }
    });
    this.firePlanned.addCallback((result) => {
      for (const { series, planned } of this.fires()) {
        result.observe(planned / 1_000, series);
      }
    });
    this.fireClaimed.addCallback((result) => {
      for (const { series, claimed } of this.fires()) {
        result.observe(claimed / 1_000, series);
      }
    });
  }

  /** Locks without a name share a time series, whose latest fire is that of none in particular. */
  private fires(): Level[] {
    return Array.from(this.levels.values()).filter(
      ({ series, planned }) => planned > 0 && ATTRIBUTE.lockName in series,
    );
  }

  private levelOf(series: Attributes): Level {
    const key = JSON.stringify(series);
    const level = this.levels.get(key) ?? {
      series,
      calls: new Set(),
      planned: 0,
      claimed: 0,
    };
    this.levels.set(key, level);
    return level;
  }

  called(call: WaitingCall): void {
    const { series, fire } = call;
    this.waiting.add(1, series);
    const level = this.levelOf(series);
    if (fire === undefined) {
      level.calls.add(call);
    } else {
      level.planned = Math.max(level.planned, fire);
    }
  }

  /** @param waited milliseconds */
  answered(call: WaitingCall, end: CallEnd | 'acquired', waited: number): void {
    const { series, fire } = call;
    this.waiting.add(-1, series);
    const level = this.levelOf(series);
    level.calls.delete(call);
    if (fire !== undefined && (end === 'acquired' || end === 'fire-claimed')) {
      level.claimed = Math.max(level.claimed, fire);
    }
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

  renewed(series: Attributes, margin: number | undefined): void {
    this.renewals.add(1, series);
    if (margin !== undefined) {
      this.renewalMargin.record(margin, series);
    }
  }

  renewalFailed(series: Attributes, failure: string): void {
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
