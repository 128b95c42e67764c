/** Records the events of a LockService as OpenTelemetry metrics and spans. */
import { Logger } from '@nestjs/common';
import type { Attributes, Tracer } from '@opentelemetry/api';
import { describeValue } from '../k8s-lock.options.js';
import {
  isError,
  LockConfigurationError,
  type LockReference,
} from '../lock.errors.js';
import { printable, quote } from '../printable.js';
import type { LockEvent } from '../lock.events.js';
import { clientOf } from '../lock.client.js';
import type { LockService } from '../lock.service.js';
import type {
  CallEnd,
  CallTrace,
  LockTracer,
} from '../lock/acquire/outcome.js';
import { RepeatedLines } from '../repeated-lines.js';
import { LockMeter } from './lock-meter.js';
import { LockSpan, type OpenTelemetry } from './lock-span.js';
import { SCOPE, seriesOf } from './telemetry-names.js';
import type { K8sLockTelemetryOptions } from './telemetry.options.js';

/** A lock that is held, or lost but not released. */
interface OpenHold {
  readonly span: LockSpan;
  readonly series: Attributes;
  isLost: boolean;
}

/**
 * Records from now on until the shutdown.
 *
 * @throws LockConfigurationError if @opentelemetry/api is not installed
 */
export function startTelemetry(
  locks: LockService,
  options: K8sLockTelemetryOptions,
): LockTracer | undefined {
  const client = clientOf(locks);
  if (client === undefined) {
    return undefined; // a test replaces LockService
  }
  const api = loadApi();
  const {
    meterProvider = api.metrics,
    tracerProvider = api.trace,
    lockName = ({ name }) => (client.fixedNames.has(name) ? name : undefined),
  } = options;
  const meter = new LockMeter(meterProvider.getMeter(SCOPE));
  const tracer = tracerProvider.getTracer(SCOPE);
  const labels = new LockLabels(lockName);
  const labelOf = (lock: LockReference) => labels.of(lock);
  const recorder = new LockRecorder(api, meter, tracer, labelOf);
  locks.events$.subscribe({
    next: (event) => recorder.record(event),
    complete: () => labels.end(),
  });
  locks.requests$.subscribe((request) => meter.requested(request));
  client.engine.tracer = recorder;
  return recorder;
}

/** What locks are called in metrics and in names of spans. A fault in the function that says it affects no lock. */
class LockLabels {
  private readonly logger = new Logger('K8sLockTelemetryModule');
  private readonly lines = new RepeatedLines();

  constructor(
    private readonly lockName: (lock: LockReference) => string | undefined,
  ) {}

  of(lock: LockReference): string | undefined {
    try {
      const label: unknown = this.lockName(lock);
      if (label === undefined) {
        return undefined;
      }
      if (typeof label !== 'string') {
        throw new TypeError(
          `it must return a string or undefined, not ${describeValue(label)}`,
        );
      }
      return printable(label);
    } catch (error) {
      this.lines.note(String(error), (count) =>
        this.logger.error(
          `The option lockName failed for lock ${quote(lock.name)}, so its name is left out of metrics${count}`,
          isError(error) ? error.stack : String(error),
        ),
      );
      return undefined;
    }
  }

  end(): void {
    this.lines.end();
  }
}

/** Turns the events of each call and each held lock into measurements and spans. */
class LockRecorder implements LockTracer {
  private readonly open = new Map<string, OpenHold>();

  constructor(
    private readonly api: OpenTelemetry,
    private readonly meter: LockMeter,
    private readonly tracer: Tracer,
    private readonly labelOf: (lock: LockReference) => string | undefined,
  ) {}

  begin(lock: LockReference, fire?: number): CallTrace {
    const label = this.labelOf(lock);
    const series = seriesOf(lock, label);
    const span = new LockSpan(this.api, this.tracer, lock, label);
    const call = { series, calledAt: performance.now(), fire };
    this.meter.called(call);
    const answered = (end: CallEnd | 'acquired'): number => {
      const waited = performance.now() - call.calledAt;
      this.meter.answered(call, end, waited);
      return waited;
    };
    return {
      acquire: (acquire) => span.activate(acquire),
      acquired: (held) => {
        span.acquired(held, answered('acquired'));
        const hold = { span, series, isLost: false };
        this.open.set(idOf(held), hold);
      },
      ended: (end) => {
        answered(end);
        span.notAcquired(end);
      },
      run: (work) => span.run(work),
    };
  }

  record(event: LockEvent): void {
    switch (event.type) {
      case 'renewed':
        this.meter.renewed(this.seriesOf(event), event.margin);
        break;
      case 'backend-error':
        if (event.operation === 'renew') {
          this.meter.renewalFailed(this.seriesOf(event), event.error.reason);
        }
        break;
      case 'saturated':
      case 'unsaturated':
        this.meter.saturated(event.type === 'saturated');
        break;
      case 'failed':
        this.open.get(idOf(event))?.span.failed(event.error);
        break;
      case 'lost':
        this.lost(event.held, event.reason, this.open.get(idOf(event)));
        break;
      case 'released':
        this.released(event.held, idOf(event));
    }
  }

  /** The work may still be running, so the span lasts until the release. */
  private lost(held: number, reason: string, hold: OpenHold | undefined): void {
    if (hold) {
      hold.isLost = true;
      hold.span.lost(reason);
      this.meter.ended(hold.series, held, reason);
    }
  }

  private released(held: number, id: string): void {
    const hold = this.open.get(id);
    if (hold) {
      this.open.delete(id);
      hold.span.end();
      if (!hold.isLost) {
        this.meter.ended(hold.series, held);
      }
    }
  }

  private seriesOf(lock: LockReference): Attributes {
    return seriesOf(lock, this.labelOf(lock));
  }
}

/** A fencing token identifies one acquisition. */
function idOf(hold: {
  namespace: string;
  leaseName: string;
  fencingToken: bigint;
}): string {
  return `${hold.namespace}/${hold.leaseName}/${hold.fencingToken}`;
}

function loadApi(): OpenTelemetry {
  try {
    return require('@opentelemetry/api');
  } catch (error) {
    throw new LockConfigurationError(
      [
        'K8sLockTelemetryModule needs the package @opentelemetry/api, which cannot be loaded: install it, or remove the module',
      ],
      { cause: error },
    );
  }
}
