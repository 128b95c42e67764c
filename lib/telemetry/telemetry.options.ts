/** What can be set about metrics and spans. */
import type { MeterProvider, TracerProvider } from '@opentelemetry/api';
import type { LockReference } from '../lock.errors.js';

/** What `K8sLockTelemetryModule.forRoot()` takes; all of it is optional. */
export interface K8sLockTelemetryOptions {
  /**
   * What a lock is called in metrics and in the names of spans; undefined = its name is left out there,
   * and all such locks are counted together. Each name that it returns makes time series of its own, so
   * let it return few. Default: the own name of a lock whose `@WithLeaseLock` has a fixed one, undefined
   * for any other.
   *
   * @example
   * lockName: ({ name }) => name.replace(/^order-.*$/, 'order-*')
   */
  lockName?: (lock: LockReference) => string | undefined;
  /** Default: the global one, as it is when the application is created. */
  meterProvider?: MeterProvider;
  /** Default: the global one. */
  tracerProvider?: TracerProvider;
}
