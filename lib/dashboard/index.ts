/** The exports of `nestjs-k8s-lock/dashboard`: a live view of the locks. */
export { K8sLockDashboardModule } from './dashboard.module.js';
export type {
  DashboardRouteOptions,
  DashboardViewOptions,
  K8sLockDashboardAsyncOptions,
  K8sLockDashboardOptions,
} from './dashboard.options.js';
