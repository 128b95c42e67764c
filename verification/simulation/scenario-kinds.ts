/** The kinds of scenarios: of each, a seed is another one. */
import { leasesOf } from '../../lib/lock/acquire/semaphore.js';
import type { Random } from './random.js';
import {
  lockScenario,
  troubledScenario,
  withPatchRefusals,
  withSessions,
  type Mishap,
  type Scenario,
} from './scenario.js';

export const KINDS = ['locks', 'semaphores', 'elections', 'lines'] as const;

export type Kind = (typeof KINDS)[number];

/** The kind that must find a mutant. */
export function kindOf({ caughtBy }: { caughtBy: string }): Kind {
  return KINDS.find((kind) => caughtBy.endsWith(kind)) ?? 'locks';
}

/** What the chance of a run comes from. */
export function nameOfRun(kind: Kind, seed: number): string {
  return kind === 'locks' ? String(seed) : `${kind} ${seed}`;
}

export function scenarioOf(kind: Kind, random: Random): Scenario {
  const scenario = scenarioOfKind(kind, random);
  return withPatchRefusals(random.fork('rights'), scenario);
}

function scenarioOfKind(kind: Kind, random: Random): Scenario {
  switch (kind) {
    case 'locks':
      return lockScenario(random);
    case 'semaphores':
      return semaphoreScenario(random);
    case 'elections':
      return electionScenario(random);
    case 'lines':
      return lineScenario(random);
    default:
      return kind satisfies never;
  }
}

/** What callers want is a semaphore, in some seeds with numbers of permits that differ; peers take slot 0 for a lock. */
function semaphoreScenario(random: Random): Scenario {
  const scenario = withoutJob(random);
  const { contended, mishaps } = scenario;
  const own = random.fork('semaphores');
  const most = own.pick([2, 2, 3, 4]);
  const isMixed = own.chance(0.5);
  const permits = (): number => (isMixed ? own.whole(1, most) : most);
  const locks = contended.flatMap((lock) => leasesOf(lock, most));
  return {
    ...scenario,
    locks,
    permits: most,
    mishaps: mishaps.map((mishap) => at(mishap, () => own.pick(locks))),
    clients: scenario.clients.map((client, index) => ({
      ...client,
      callers: own.whole(1, 4),
      permits: index === 0 ? most : permits(),
      permitsAfterRestart: permits(),
    })),
  };
}

/** Each client contends in one election, in many seeds beside client-go. */
function electionScenario(random: Random): Scenario {
  const scenario = withoutJob(random, { clientGo: 0.5 });
  const election = scenario.contended[0]!;
  return {
    ...scenario,
    locks: [election],
    contended: [election],
    election,
    mishaps: scenario.mishaps.map((mishap) => at(mishap, () => election)),
    clients: scenario.clients.map((client) => ({ ...client, callers: 0 })),
    // It would bring back leaders that have ended.
    backupAt: undefined,
  };
}

/**
 * So many clients wait for one lock that not all of them are told of each grant. In some seeds they are a crowd, for
 * which the line has no room.
 */
function lineScenario(random: Random): Scenario {
  const scenario = withoutJob(random);
  const own = random.fork('lines');
  const [contended] = scenario.contended;
  const isCrowd = own.chance(0.1);
  const count = isCrowd ? own.whole(36, 44) : own.whole(5, 8);
  const clients = Array.from({ length: count }, (_, index) => ({
    ...(scenario.clients[index] ?? own.pick(scenario.clients)),
    name: `c${index + 1}`,
    observes: own.chance(0.05),
    ...(isCrowd && { callers: 1 }),
  }));
  return {
    ...scenario,
    clients,
    locks: [contended!],
    contended: [contended!],
    mishaps: scenario.mishaps.map((mishap) => at(mishap, () => contended!)),
    habits: { ...scenario.habits, patient: 0.8, infinite: 0.1 },
  };
}

function withoutJob(
  random: Random,
  shares?: Parameters<typeof troubledScenario>[1],
): Scenario {
  const scenario = withSessions(
    random.fork('sessions'),
    troubledScenario(random, shares),
  );
  return { ...scenario, job: undefined, elected: undefined };
}

/** The same mishap, to another Lease. */
function at<M extends Mishap>(
  mishap: M,
  lease: () => Scenario['locks'][number],
): M {
  return 'lock' in mishap ? { ...mishap, lock: lease() } : mishap;
}
