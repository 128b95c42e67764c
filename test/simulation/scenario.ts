/** What a seed stands for: who takes part, what they want, and what goes wrong. */
import type { LockOptions } from '../../lib/k8s-lock.options.js';
import type { LockReference } from '../../lib/lock.errors.js';
import type { MachineOptions, Pauses } from './machine.js';
import type { NetworkFaults, Outage } from './network.js';
import type { Random } from './random.js';

/** How many milliseconds of a monotonic clock pass in one of true time. */
export const CLOCK_RATES = { slowest: 0.95, fastest: 1.05 };

export interface ClientPlan extends Omit<MachineOptions, 'pauses'> {
  readonly requestTimeout: number;
  /** How many callers want locks in this process at the same time. */
  readonly callers: number;
  /** Whether it watches its locks from the start. */
  readonly observes: boolean;
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
      readonly step: number;
    }
  | {
      readonly kind: 'delete' | 'edit' | 'force';
      readonly lock: LockReference;
    };

export interface Scenario {
  /** Milliseconds of true time at which everything that is wrong ends. */
  readonly faultsEnd: number;
  readonly locks: readonly LockReference[];
  readonly clients: readonly ClientPlan[];
  readonly clientGoPeers: number;
  readonly k8slockPeers: number;
  /** What a peer takes as its lease duration. */
  readonly leaseDuration: number;
  readonly network: NetworkFaults;
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
}

const HOUR = 3_600_000;

export function scenarioOf(random: Random): Scenario {
  /** A fault is there in some seeds only, or none would ever see what the others do alone. */
  const sometimes = (share: number, least: number, most: number): number =>
    random.chance(share) ? random.magnitude(least, most) : 0;
  const hasClientGo = random.chance(0.15);
  const hasK8slock = random.chance(0.2);
  const leaseSeconds = hasClientGo
    ? random.pick([4, 6])
    : random.pick([1, 1, 1, 2, 2, 3, 5]);
  const leaseDuration = leaseSeconds * 1_000;
  const faultsEnd = leaseDuration * random.between(4, 10);
  const locks = ['alpha', 'beta']
    .slice(0, random.chance(0.75) ? 1 : 2)
    .map((name) => ({
      name: random.chance(0.8) ? name : `Lock ${name}`,
      namespace: 'default',
      leaseName: name,
    }));
  const clients = planClients(random, {
    leaseDuration,
    // k8slock trusts wall clocks: with it, they must agree.
    greatestOffset: hasK8slock ? 5 : HOUR,
  });
  return {
    faultsEnd,
    locks,
    clients,
    clientGoPeers: hasClientGo ? random.whole(1, 2) : 0,
    k8slockPeers: hasK8slock ? random.whole(1, 2) : 0,
    leaseDuration,
    network: {
      slow: sometimes(0.5, 0.01, 0.5),
      lost: sometimes(0.4, 0.005, 0.2),
      unanswered: sometimes(0.5, 0.005, 0.3),
      late: sometimes(0.4, 0.005, 0.2),
      throttled: sometimes(0.25, 0.005, 0.2),
      failing: sometimes(0.3, 0.005, 0.3),
      refused: sometimes(0.25, 0.005, 0.2),
      outages: planOutages(random, clients, faultsEnd, leaseDuration),
    },
    watch: {
      isForbidden: random.chance(0.15),
      longestLag: sometimes(0.4, 1, 3_000),
      broken: sometimes(0.5, 0.01, 0.3),
      repeated: sometimes(0.3, 0.01, 0.3),
      stale: sometimes(0.3, 0.01, 0.3),
    },
    pauses: {
      chance: sometimes(0.35, 0.001, 0.02),
      longest: leaseDuration * 3,
    },
    mishaps: planMishaps(random, {
      clients,
      locks,
      faultsEnd,
      leaseDuration,
      mayStepWall: !hasK8slock,
    }),
    touchInterval: random.chance(0.15)
      ? leaseDuration * random.between(0.2, 0.8)
      : undefined,
    leasesExist: random.chance(0.5),
    lockOptions: {
      leaseDuration,
      retryInterval: random.magnitude(150, 1_500),
      // client-go compares whole seconds, and so may count from up to one second too early.
      ...(hasClientGo && { safetyMargin: leaseDuration / 10 + 1_000 }),
    },
  };
}

function planClients(
  random: Random,
  {
    leaseDuration,
    greatestOffset,
  }: { leaseDuration: number; greatestOffset: number },
): ClientPlan[] {
  const extremes = [CLOCK_RATES.slowest, CLOCK_RATES.fastest];
  return Array.from({ length: random.whole(2, 4) }, (_, index) => ({
    name: `c${index + 1}`,
    rate: random.chance(0.5)
      ? random.pick(extremes)
      : random.between(CLOCK_RATES.slowest, CLOCK_RATES.fastest),
    wallOffset: random.between(-greatestOffset, greatestOffset),
    requestTimeout: leaseDuration * random.magnitude(0.2, 3),
    callers: random.pick([1, 2, 3]),
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
    mayStepWall,
  }: Pick<Scenario, 'clients' | 'locks' | 'faultsEnd' | 'leaseDuration'> & {
    mayStepWall: boolean;
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
  plan(0.3, 4, () => ({ kind: 'delete', lock: random.pick(locks) }));
  plan(0.2, 5, () => ({ kind: 'edit', lock: random.pick(locks) }));
  plan(0.1, 3, () => ({ kind: 'force', lock: random.pick(locks) }));
  if (mayStepWall) {
    plan(0.4, 4, () => ({
      kind: 'wall-step',
      client: client(),
      step: random.between(-HOUR, HOUR),
    }));
  }
  return mishaps;
}
