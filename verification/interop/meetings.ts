/** Who meets whom on one Lease, and how they contend for it. */
import type {
  ClientGoOptions,
  K8slockOptions,
  OurPart,
  Turns,
} from './programs/options.js';

export interface Meeting {
  readonly title: string;
  /** The name of its Lease. */
  readonly lock: string;
  /** How each of our processes takes part, by its name. */
  readonly ours: Readonly<Record<string, Omit<OurPart, 'lock'>>>;
  /** By their names. */
  readonly peers: Readonly<Record<string, PeerPart>>;
}

export interface PeerPart extends Turns {
  readonly clientGo?: ClientGoOptions;
  readonly k8slock?: K8slockOptions;
}

const LEASE = 3_000;
const SHORT: Turns = { hold: [50, 300], rest: [200, 800] };
/** Some turns take longer than the lease: it is renewed. */
const RENEWING: Turns = { ...SHORT, long: [LEASE + 500, LEASE + 1_000] };

/** Beside client-go, with a lease this short, the margin needs a second more; see `limits.spec.ts`. */
const BESIDE_CLIENT_GO = {
  leaseDuration: LEASE,
  safetyMargin: LEASE / 10 + 1_000,
  renewInterval: 500,
};
const BESIDE_K8SLOCK = { leaseDuration: LEASE };

const CLIENT_GO: ClientGoOptions = {
  leaseDuration: LEASE,
  renewDeadline: 2_000,
  retryPeriod: 500,
  releaseOnCancel: true,
};
const RELEASES = { clientGo: CLIENT_GO };
const KEEPS = { clientGo: { ...CLIENT_GO, releaseOnCancel: false } };
const TTL = { k8slock: { ttl: LEASE, retryWait: 1_000 } };
const TTL_EAGER = { k8slock: { ttl: LEASE, retryWait: 200 } };
const NO_TTL = { k8slock: { retryWait: 1_000 } };
const NO_TTL_EAGER = { k8slock: { retryWait: 200 } };

/** Everybody who keeps to the rules that docs/interop.md gives for a Lease that is shared. */
export const MEETINGS: readonly Meeting[] = [
  {
    title: 'client-go',
    lock: 'client-go',
    ours: {
      'ours-1': { ...RENEWING, options: BESIDE_CLIENT_GO },
      'ours-2': { ...SHORT, options: BESIDE_CLIENT_GO },
    },
    peers: {
      'client-go': { ...RENEWING, ...RELEASES },
      'client-go, does not release': {
        ...SHORT,
        rest: [1_500, 2_500],
        ...KEEPS,
      },
    },
  },
  {
    title: 'k8slock with TTL',
    lock: 'k8slock-ttl',
    ours: {
      'ours-1': { ...RENEWING, options: BESIDE_K8SLOCK },
      'ours-2': { ...SHORT, options: BESIDE_K8SLOCK },
    },
    peers: {
      k8slock: { ...SHORT, ...TTL },
      'k8slock, eager': { ...SHORT, ...TTL_EAGER },
    },
  },
  {
    title: 'k8slock without TTL',
    lock: 'k8slock',
    ours: {
      'ours-1': { ...RENEWING, options: BESIDE_K8SLOCK },
      'ours-2': { ...SHORT, options: BESIDE_K8SLOCK },
    },
    peers: {
      k8slock: { ...RENEWING, ...NO_TTL },
      'k8slock, eager': { ...SHORT, ...NO_TTL_EAGER },
    },
  },
  {
    // k8slock takes a leader of client-go for expired once it has led for its lease: it leads for less.
    title: 'client-go and k8slock',
    lock: 'all',
    ours: {
      'ours-1': { ...RENEWING, options: BESIDE_CLIENT_GO },
      'ours-2': { ...SHORT, options: BESIDE_CLIENT_GO },
    },
    peers: {
      'client-go': { ...SHORT, ...RELEASES },
      k8slock: { ...SHORT, ...TTL_EAGER },
    },
  },
];

/** The two of them without ours, each as its users may use it: what overlaps here is none of ours. */
export const CONTROL: Meeting = {
  title: 'none of ours: client-go and k8slock',
  lock: 'control',
  ours: {},
  peers: {
    'client-go': { ...RENEWING, ...RELEASES },
    k8slock: { ...SHORT, ...TTL_EAGER },
    'k8slock without TTL': { ...RENEWING, ...NO_TTL_EAGER },
  },
};

/** For a build in which renewals leave acquireTime as it is: then k8slock takes its holder for expired. */
export const BROKEN_RULE: Meeting = {
  title: 'broken on purpose: k8slock with TTL',
  lock: 'broken',
  ours: {
    'ours-broken': {
      hold: [2_500, 3_000],
      rest: [100, 200],
      options: { leaseDuration: 1_000, renewInterval: 400 },
    },
  },
  peers: { k8slock: { ...SHORT, k8slock: { ttl: LEASE, retryWait: 50 } } },
};
