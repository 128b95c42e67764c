/** The public surface of nestjs-k8s-lock. */
export type { FireOptions, OnFailure } from './schedule/fire.options.js';
export { HeldLock } from './decorators/held-lock.decorator.js';
export { LockErrorFilter } from './decorators/lock-error.filter.js';
export { LeaseLockInterceptor } from './decorators/lease-lock.interceptor.js';
export {
  WithLeaseLock,
  type LeaseLockDecorator,
  type WithLeaseLockOptions,
} from './decorators/with-lease-lock.decorator.js';
export { K8sLockModule } from './k8s-lock.module.js';
export type {
  K8sLockModuleAsyncOptions,
  K8sLockModuleExtras,
  K8sLockOptionsFactory,
} from './k8s-lock.module-definition.js';
export type {
  K8sLockModuleOptions,
  KubeConfigLike,
  LockOptions,
  OnLocked,
  OwnLockOptions,
} from './k8s-lock.options.js';
export {
  LockBackendError,
  LockConfigurationError,
  LockError,
  LockLostError,
  LockNotAcquiredError,
  type LockBackendReason,
  type LockLossReason,
  type LockNotAcquiredReason,
  type LockReference,
  type LockSaturation,
  type NotAcquiredDetails,
} from './lock.errors.js';
export type {
  ApiRequestEvent,
  LockAcquiredEvent,
  LockBackendErrorEvent,
  LockEvent,
  LockEventBase,
  LockExecutedEvent,
  LockFailedEvent,
  LockLostEvent,
  LockNotAcquiredEvent,
  LockNotAcquiredEventReason,
  LockPermitsDifferEvent,
  LockReleasedEvent,
  LockRenewedEvent,
  LockSaturatedEvent,
  LockSkippedEvent,
  LockSkippedReason,
  LockUnsaturatedEvent,
  LockWaitingEvent,
} from './lock.events.js';
export { LockService, type AcquireOptions } from './lock.service.js';
export {
  Semaphore,
  type SemaphoreCallOptions,
  type SemaphoreOptions,
  type SemaphoreState,
} from './semaphore.js';
export { currentLock } from './lock/hold/current-lock.js';
export {
  LeaseLock,
  LeaseLocks,
  type LeaseLockJson,
} from './lock/hold/lease-lock.js';
export type {
  FireState,
  FreeLockState,
  HeldLockState,
  LockState,
  SessionState,
  WaitingState,
} from './lock/record/lock-state.js';
