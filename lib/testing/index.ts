/** The exports of `nestjs-k8s-lock/testing`: locks in memory, the embedded Lease API server and its fault injection. */
export type { Access } from './access.js';
export type {
  Fault,
  FaultMatch,
  FaultPhase,
  Faults,
  InjectedFault,
} from './faults.js';
export {
  K8sLockTestingModule,
  type K8sLockTestingOptions,
} from './k8s-lock-testing.module.js';
export {
  LockTestingController,
  type FailNextOptions,
  type LockTestingTarget,
  type LockTestingVerb,
} from './lock-testing-controller.js';
export type { LockTestingFailure } from './testing-cluster.js';
export type { NamespacePhase } from './lease-api.js';
export {
  LeaseApiServer,
  type KubeConfigOptions,
  type LeaseApiServerOptions,
} from './lease-api-server.js';
export type {
  ReceivedRequest,
  RequestLog,
  RequestMatch,
  RequestVerb,
} from './requests.js';
export type { WatchEnd } from './watches.js';
