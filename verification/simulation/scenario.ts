/** What a seed stands for: who takes part, what they want, and what goes wrong. */
import type { LockOptions } from '../../lib/k8s-lock.options.js';
import type { LockReference } from '../../lib/lock.errors.js';
import { planOfInterval } from '../../lib/schedule/planned-fires.js';
import {
  greatestOffsetOf,
  planJob,
  planPlainJob,
  type JobPlan,
} from './job-plan.js';
import { wallTimeOf, type MachineOptions, type Pauses } from './machine.js';
import { NO_FAULTS, type NetworkFaults, type Outage } from './network.js';
import type { Random } from './random.js';

/** How many milliseconds of a monotonic clock pass in one of true time. */
export const CLOCK_RATES = { slowest: 0.95, fastest: 1.05 };

/** Milliseconds by which wall clocks are off, beside a k8slock, which trusts them. */
const K8SLOCK_OFFSET = 5;

export interface ClientPlan extends Omit<MachineOptions, 'pauses'> {
  readonly requestTimeout: number;
  /** How many callers want locks in this process at the same time. */
  readonly callers: number;
  /** Whether it watches its locks from the start. */
  readonly observes: boolean;
  /** Whether it holds its locks under a session. */
  readonly hasSession?: boolean;
  /** Of the semaphores that its callers want, also once it has started again; undefined: they want locks. */
  readonly permits?: number;
  readonly permitsAfterRestart?: number;
}

export type Mishap =
  | { readonly kind: 'pause'; readonly client: string; readonly length: number }
  | {
      readonly kind: 'crash';
      readonly client: string;
      readonly downtime: number;
    }
  | {
      readonly kind: 'shutdown';
      readonly client: string;
      readonly timeout: number;
      readonly downtime: number;
    }
  | {
      readonly kind: 'wall-step';
      readonly client: string;
      /** Milliseconds by which the wall clock is ahead from then on. */
      readonly to: number;
    }
  | {
      readonly kind: 'delete' | 'edit' | 'force';
      readonly lock: LockReference;
    }
  | { readonly kind: 'delete-session' };

/** What share of the calls of ordinary callers is how. */
export interface Habits {
  /** They wait for as long as it takes. */
  readonly patient: number;
  readonly infinite: number;
  readonly stubborn: number;
  /** Their work ends when that of others of the process does. */
  readonly together: number;
  readonly renewing: number;
  readonly maxHold: number;
  readonly deleteOnRelease: number;
}

const USUAL: Habits = {
  patient: 0,
  infinite: 0.3,
  stubborn: 0.15,
  together: 0,
  renewing: 0.85,
  maxHold: 0.1,
  deleteOnRelease: 0.15,
};

/** What is frequent in a seed: else, things that are rare by themselves would hardly ever meet. */
const STYLES = {
  usual: USUAL,
  /** Many callers in each process, who wait for each other, work on without the lock, and end at the same moments. */
  crowded: {
    ...USUAL,
    patient: 0.9,
    infinite: 0.4,
    stubborn: 0.9,
    together: 0.7,
    maxHold: 0.8,
  },
  /** Leases that nobody renews, in processes that are paused. */
  paused: { ...USUAL, infinite: 0, renewing: 0.1 },
  /** Locks that do not expire, on Leases that come and go, by requests that are late. */
  fleeting: { ...USUAL, infinite: 0.7, deleteOnRelease: 0.9 },
};

/** From some true time until another, one client, or all (undefined), may not patch Leases. */
export type PatchRefusal = Pick<Outage, 'from' | 'until' | 'client'>;

export interface Scenario {
  /** Milliseconds of true time at which everything that is wrong ends. */
  readonly faultsEnd: number;
  readonly locks: readonly LockReference[];
  /** Those of the locks that callers and peers want; slot 0 of each semaphore. */
  readonly contended: readonly LockReference[];
  /** The greatest number of permits that a process has for a semaphore; undefined: the callers want locks. */
  readonly permits?: number;
  /** The lock of the election in which each client contends. */
  readonly election?: LockReference;
  /** A Lease of coordinated leader election, which callers may try to lock. */
  readonly elected: LockReference | undefined;
  readonly job: JobPlan | undefined;
  /** Nothing is wrong but that one client is cut off, in the middle of a fire, until some true time. */
  readonly partition:
    { readonly fire: number; readonly until: number } | undefined;
  readonly habits: Habits;
  readonly clients: readonly ClientPlan[];
  readonly clientGoPeers: number;
  readonly k8slockPeers: number;
  /** What a peer takes as its lease duration. */
  readonly leaseDuration: number;
  readonly network: NetworkFaults;
  /** When the right to patch Leases is taken away, and from whom. */
  readonly patchRefusals: readonly PatchRefusal[];
  readonly watch: {
    readonly isForbidden: boolean;
    readonly longestLag: number;
    readonly broken: number;
    readonly repeated: number;
    readonly stale: number;
  };
  readonly pauses: Pauses;
  readonly mishaps: readonly (Mishap & { readonly at: number })[];
  /** Milliseconds after which somebody edits the metadata of every Lease, for ever; undefined = nobody. */
  readonly touchInterval: number | undefined;
  /** Whether the Leases exist at the beginning. */
  readonly leasesExist: boolean;
  readonly lockOptions: LockOptions;
  /** Milliseconds of true time of the backup from which etcd is restored in the end; undefined = it is not. */
  readonly backupAt: number | undefined;
}

export function lockScenario(random: Random): Scenario {
  const troubled = troubledScenario(random);
  const scenario = random.chance(0.1)
    ? partitioned(random, troubled)
    : troubled;
  return withSessions(random.fork('sessions'), scenario);
}

/** In some seeds a Role lacks the verb patch, for some time or until the faults end. */
export function withPatchRefusals(
  random: Random,
  scenario: Scenario,
): Scenario {
  const { clients, faultsEnd, partition } = scenario;
  if (partition || random.chance(0.75)) {
    return scenario;
  }
  const moment = (): number => random.between(0, faultsEnd);
  return {
    ...scenario,
    patchRefusals: Array.from({ length: random.whole(1, 3) }, () => ({
      from: random.chance(0.5) ? 0 : moment(),
      until: random.chance(0.5) ? faultsEnd : moment(),
      client: random.chance(0.7) ? random.pick(clients).name : undefined,
    })),
  };
}

/** Some of the clients, or all, hold their locks under sessions, which somebody may delete. */
export function withSessions(random: Random, scenario: Scenario): Scenario {
  if (random.chance(0.5)) {
    return scenario;
  }
  const { clients, faultsEnd, partition } = scenario;
  const share = random.pick([0.5, 1]);
  const deletions = random.chance(0.4) && !partition ? random.whole(1, 4) : 0;
  return {
    ...scenario,
    clients: clients.map((client) => ({
      ...client,
      hasSession: random.chance(share),
    })),
    mishaps: [
      ...scenario.mishaps,
      ...Array.from({ length: deletions }, () => ({
        kind: 'delete-session' as const,
        at: random.between(0, faultsEnd),
      })),
    ],
  };
}

/**
 * A client is cut off as it claims a fire, or begins it: for a moment it hears no answers, and then nothing
 * of it arrives for longer than its lease.
 */
function partitioned(random: Random, scenario: Scenario): Scenario {
  const { leaseDuration, lockOptions, contended } = scenario;
  const own = { name: 'job', namespace: 'default', leaseName: 'job' };
  const job = planPlainJob(random, own, leaseDuration, lockOptions);
  const offset =
    scenario.k8slockPeers > 0 ? K8SLOCK_OFFSET : greatestOffsetOf(job);
  const clients = scenario.clients.map((client) => ({
    ...client,
    wallOffset: random.between(-offset, offset),
  }));
  // The one that comes first.
  const client = clients.reduce((first, other) =>
    other.wallOffset > first.wallOffset ? other : first,
  );
  const plan = planOfInterval(job.period);
  const fireAt = plan.next(wallTimeOf(leaseDuration));
  const calledAt = fireAt - wallTimeOf(0) - client.wallOffset;
  // As the claim is sent, or as the beginning is.
  const deafFrom = calledAt + random.magnitude(0.3, 30);
  const deafUntil = deafFrom + random.magnitude(5, 300);
  const cutUntil = deafUntil + leaseDuration * random.between(1, 3);
  const { name } = client;
  return {
    ...scenario,
    partition: { fire: fireAt, until: cutUntil },
    job,
    locks: [...contended, job.lock],
    clients,
    faultsEnd: cutUntil + 2 * job.period,
    habits: STYLES.usual,
    network: {
      ...NO_FAULTS,
      outages: [
        { from: deafFrom, until: deafUntil, client: name, kind: 'one-way' },
        {
          from: deafUntil,
          until: cutUntil,
          client: name,
          kind: random.pick(['lost', 'hanging', 'refused']),
        },
      ],
    },
    watch: {
      ...scenario.watch,
      longestLag: 0,
      broken: 0,
      repeated: 0,
      stale: 0,
    },
    patchRefusals: [],
    pauses: { chance: 0, longest: 0 },
    mishaps: [],
    backupAt: undefined,
  };
}

/** @param shares how many of the seeds have what */
export function troubledScenario(
  random: Random,
  shares = { clientGo: 0.15 },
): Scenario {
  /** A fault is there in some seeds only, or none would ever see what the others do alone. */
  const sometimes = (share: number, least: number, most: number): number =>
    random.chance(share) ? random.magnitude(least, most) : 0;
  const style = random.pick([
    'usual',
    'usual',
    'usual',
    'crowded',
    'crowded',
    'paused',
    'paused',
    'fleeting',
  ] as const);
  const hasClientGo = random.chance(shares.clientGo);
  const hasK8slock = random.chance(0.2);
  const leaseSeconds = hasClientGo
    ? random.pick([4, 6])
    : random.pick([1, 1, 1, 2, 2, 3, 5]);
  const leaseDuration = leaseSeconds * 1_000;
  const faultsEnd = leaseDuration * random.between(4, 10);
  const lock = (name: string): LockReference => ({
    name: random.chance(0.8) ? name : `Lock ${name}`,
    namespace: 'default',
    leaseName: name,
  });
  const contended = ['alpha', 'beta']
    .slice(0, random.chance(0.75) ? 1 : 2)
    .map(lock);
  const lockOptions: LockOptions = {
    leaseDuration,
    // A look at the record aborts what a late timer has not.
    retryInterval: random.magnitude(150, 1_500) * (style === 'paused' ? 10 : 1),
    // client-go compares whole seconds, and so may count from up to one second too early.
    ...(hasClientGo && { safetyMargin: leaseDuration / 10 + 1_000 }),
  };
  const job = random.chance(0.5)
    ? planJob(random.fork('job'), {
        own: lock('job'),
        contended: random.chance(0.4) ? random.pick(contended) : undefined,
        leaseDuration,
        lockOptions,
      })
    : undefined;
  const locks = [...new Set([...contended, ...(job ? [job.lock] : [])])];
  const greatestOffset = hasK8slock ? K8SLOCK_OFFSET : greatestOffsetOf(job);
  const clients = planClients(random, {
    leaseDuration,
    greatestOffset,
    callers: { usual: [1, 2, 3], crowded: [4], paused: [1], fleeting: [1, 2] }[
      style
    ],
  });
  return {
    faultsEnd,
    locks,
    contended,
    elected: random.chance(0.1) ? lock('elected') : undefined,
    job,
    partition: undefined,
    habits: STYLES[style],
    clients,
    clientGoPeers: hasClientGo ? random.whole(1, 2) : 0,
    k8slockPeers: hasK8slock ? random.whole(1, 2) : 0,
    leaseDuration,
    network: {
      slow: sometimes(0.5, 0.01, 0.5),
      lost: sometimes(0.4, 0.005, 0.2),
      unanswered: sometimes(0.5, 0.005, 0.3),
      late:
        style === 'fleeting'
          ? random.magnitude(0.05, 0.3)
          : sometimes(0.4, 0.005, 0.2),
      throttled: sometimes(0.25, 0.005, 0.2),
      failing: sometimes(0.3, 0.005, 0.3),
      refused: sometimes(0.25, 0.005, 0.2),
      outages: planOutages(random, clients, faultsEnd, leaseDuration),
    },
    patchRefusals: [],
    watch: {
      isForbidden: random.chance(0.15),
      longestLag: sometimes(0.4, 1, 3_000),
      broken: sometimes(0.5, 0.01, 0.3),
      repeated: sometimes(0.3, 0.01, 0.3),
      stale: sometimes(0.3, 0.01, 0.3),
    },
    pauses: {
      chance:
        style === 'paused'
          ? random.magnitude(0.02, 0.2)
          : sometimes(0.35, 0.001, 0.02),
      longest: leaseDuration * (style === 'paused' ? 1 : 3),
    },
    mishaps: planMishaps(random, {
      clients,
      locks,
      faultsEnd,
      leaseDuration,
      greatestOffset: hasK8slock ? 0 : greatestOffset,
      areDeleted: style === 'crowded' ? 0.5 : 0.3,
    }),
    touchInterval: random.chance(0.15)
      ? leaseDuration * random.between(0.2, 0.8)
      : undefined,
    leasesExist: random.chance(0.5),
    lockOptions,
    backupAt: random.chance(0.1)
      ? faultsEnd * random.between(0.1, 0.5)
      : undefined,
  };
}

function planClients(
  random: Random,
  {
    leaseDuration,
    greatestOffset,
    callers,
  }: {
    leaseDuration: number;
    greatestOffset: number;
    callers: readonly number[];
  },
): ClientPlan[] {
  const extremes = [CLOCK_RATES.slowest, CLOCK_RATES.fastest];
  return Array.from({ length: random.whole(2, 4) }, (_, index) => ({
    name: `c${index + 1}`,
    rate: random.chance(0.5)
      ? random.pick(extremes)
      : random.between(CLOCK_RATES.slowest, CLOCK_RATES.fastest),
    wallOffset: random.between(-greatestOffset, greatestOffset),
    requestTimeout: leaseDuration * random.magnitude(0.2, 3),
    callers: random.pick(callers),
    observes: random.chance(0.3),
  }));
}

function planOutages(
  random: Random,
  clients: readonly ClientPlan[],
  faultsEnd: number,
  leaseDuration: number,
): Outage[] {
  const kinds = [
    'refused',
    'hanging',
    'lost',
    'one-way',
    'throttled',
    'failing',
  ] as const;
  const count = random.chance(0.6) ? random.whole(1, 5) : 0;
  return Array.from({ length: count }, () => {
    const from = random.between(0, faultsEnd);
    const length = leaseDuration * random.magnitude(0.1, 4);
    const outage: Outage = {
      from,
      until: Math.min(from + length, faultsEnd),
      client: random.chance(0.75) ? random.pick(clients).name : undefined,
      kind: random.pick(kinds),
    };
    // Things often get slow before they break.
    const congestion: Outage = {
      ...outage,
      from: from - leaseDuration * random.between(0.3, 1),
      until: from,
      kind: 'congested',
    };
    return random.chance(0.4) ? [congestion, outage] : [outage];
  }).flat();
}

function planMishaps(
  random: Random,
  {
    clients,
    locks,
    faultsEnd,
    leaseDuration,
    greatestOffset,
    areDeleted,
  }: Pick<Scenario, 'clients' | 'locks' | 'faultsEnd' | 'leaseDuration'> & {
    greatestOffset: number;
    areDeleted: number;
  },
): Scenario['mishaps'] {
  const mishaps: (Mishap & { at: number })[] = [];
  const plan = (share: number, most: number, make: () => Mishap): void => {
    const count = random.chance(share) ? random.whole(1, most) : 0;
    for (let i = 0; i < count; i += 1) {
      mishaps.push({ at: random.between(0, faultsEnd), ...make() });
    }
  };
  const client = (): string => random.pick(clients).name;
  const someTime = (): number => leaseDuration * random.magnitude(0.05, 4);
  plan(0.4, 4, () => ({ kind: 'pause', client: client(), length: someTime() }));
  plan(0.4, 3, () => ({
    kind: 'crash',
    client: client(),
    downtime: someTime(),
  }));
  plan(0.3, 2, () => ({
    kind: 'shutdown',
    client: client(),
    timeout: random.magnitude(1, 2 * leaseDuration),
    downtime: someTime(),
  }));
  plan(areDeleted, 4, () => ({ kind: 'delete', lock: random.pick(locks) }));
  plan(0.2, 5, () => ({ kind: 'edit', lock: random.pick(locks) }));
  plan(0.1, 3, () => ({ kind: 'force', lock: random.pick(locks) }));
  if (greatestOffset > 0) {
    plan(0.4, 4, () => ({
      kind: 'wall-step',
      client: client(),
      to: random.between(-greatestOffset, greatestOffset),
    }));
  }
  return mishaps;
}
