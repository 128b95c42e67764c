/** The exports of `nestjs-k8s-lock/health`: health checks of locks for @nestjs/terminus. */
export {
  LockHealthIndicator,
  type LockHealth,
  type LockHealthResult,
} from './lock-health.indicator.js';
