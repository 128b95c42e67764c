/** The exports of `nestjs-k8s-lock/leader`: leader election on the locks of this package. */
export {
  LeaderElectionModule,
  type LeaderElectionAsyncOptions,
  type LeaderElectionOptionsFactory,
} from './leader-election.module.js';
export {
  LeaderElection,
  type LeaderElectionOptions,
} from './leader-election.js';
export {
  getLeaderElectionToken,
  InjectLeaderElection,
  LeaderOnly,
  OnDeposed,
  OnElected,
  type LeaderListenerDecorator,
  type LeaderOnlyDecorator,
  type LeaderOnlyOptions,
} from './leader.decorators.js';
export {
  LeaderHealthIndicator,
  type LeaderHealth,
  type LeaderHealthResult,
} from './leader-health.indicator.js';
export { Leadership } from './leadership.js';
