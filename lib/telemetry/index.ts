/** The exports of `nestjs-k8s-lock/telemetry`: OpenTelemetry metrics and spans of locks. */
export { K8sLockTelemetryModule } from './telemetry.module.js';
export type { K8sLockTelemetryOptions } from './telemetry.options.js';
