/** What `nestjs-k8s-lock/telemetry` exports: OpenTelemetry metrics and spans of locks. */
export { K8sLockTelemetryModule } from './telemetry.module.js';
export type { K8sLockTelemetryOptions } from './telemetry.options.js';
