/** The options of metrics and spans. */
import type { MeterProvider, TracerProvider } from '@opentelemetry/api';
import type { LockReference } from '../lock.errors.js';

/** The options of `K8sLockTelemetryModule.forRoot()`; all are optional. */
export interface K8sLockTelemetryOptions {
  /**
   * The name of a lock in metrics and in names of spans. Undefined leaves the name out and counts all such
   * locks together. Each name makes its own time series, so return few.
   *
   * @defaultValue the fixed name of a `@WithLeaseLock`, undefined for any other lock
   *
   * @example
   * lockName: ({ name }) => name.replace(/^order-.*$/, 'order-*')
   */
  lockName?: (lock: LockReference) => string | undefined;
  /** @defaultValue the global one at the time the application is created */
  meterProvider?: MeterProvider;
  /** @defaultValue the global one */
  tracerProvider?: TracerProvider;
}
