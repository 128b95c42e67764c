/** Crowds that contend for one lock: of this package, of a naive lock, and of the peers in Go; and what comes of it. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { beliefsOf, type Belief } from '../verification/beliefs/belief-log.js';
import {
  findOverlaps,
  findStaleTokens,
} from '../verification/beliefs/overlaps.js';
import { monotonic } from '../verification/processes/programs/calls.js';
import type { PeerOptions } from '../verification/interop/programs/options.js';
import type { TestProcess } from '../verification/processes/test-process.js';
import type { ContenderCalls, Part, Window } from './programs/contender.js';
import { median, percentile, sum } from './report.js';
import type { Setting } from './setting.js';

/** How many contend, and how. */
export interface Crowd {
  /** Each has a client identity and connections of its own. */
  readonly pods: number;
  readonly callersPerPod: number;
  /** How long a caller keeps the lock, in milliseconds. */
  readonly section: number;
  /** How many may hold it at once. Default 1: it is a lock. */
  readonly permits?: number;
}

/** Several pods share a process: a machine with few cores could not bear one for each. */
const MOST_PROCESSES = 4;
/** Milliseconds in which processes start, code gets warm, and each pod opens its connections for the lock. */
const WARM_UP = 1_000;
const WARM_UP_OF_POD = 100;

/** Contends for a lock that nobody else uses, for so many milliseconds after the warm-up. */
export type Contender = (crowd: Crowd, duration: number) => Promise<Contest>;

export interface Contest {
  readonly locksPerSecond: number;
  readonly requestsPerLock: number;
  /** Locks of the caller who got the least, by those of the one who got the most. */
  readonly share: number;
  /** Milliseconds. */
  readonly waits: readonly number[];
  /** Milliseconds from the end of a turn to the next one, of another pod. */
  readonly handovers: readonly number[];
  /** How often two held the lock at once, or a fencing token did not rise. */
  readonly overlaps: number;
  /** These, losses and errors, in words. */
  readonly faults: readonly string[];
}

/**
 * The pods of a crowd in processes of Node.js, which stay for the next contest.
 *
 * @param mostHandovers in a row within a process, while others are in line; default: what the package has
 */
export async function openPods(
  setting: Setting,
  kind: 'ours' | 'naive',
  pods: number,
  mostHandovers?: number,
): Promise<{
  processes: TestProcess<ContenderCalls>[];
  contend: Contender;
}> {
  const processes = await Promise.all(
    spread(pods).map(async (count) => {
      const process = await setting.start<ContenderCalls>(
        'bench/programs/contender',
      );
      const { kubeConfigYaml } = setting;
      await process.call('open', kubeConfigYaml, kind, count, mostHandovers);
      return process;
    }),
  );
  const contend: Contender = async (crowd, duration) => {
    const lock = randomUUID();
    const window = windowOf(crowd, duration);
    const parts = await Promise.all(
      processes.map((process) => process.call('contend', lock, window, crowd)),
    );
    return judge(parts, crowd, window);
  };
  return { processes, contend };
}

/** The pods of a crowd in processes in Go, which are started for each contest. */
export function goPeers(
  setting: Setting,
  kind: Pick<PeerOptions, 'clientGo' | 'k8slock'>,
): Contender {
  const { kubeConfigYaml, namespace, peers } = setting;
  return async (crowd, duration) => {
    const window = windowOf(crowd, duration);
    const options: Omit<PeerOptions, 'name'> = {
      ...kind,
      kubeConfigYaml,
      namespace,
      lock: randomUUID(),
      hold: [crowd.section, crowd.section],
      rest: [0, 0],
      window,
    };
    const parts = await Promise.all(
      spread(crowd.pods).map((pods, index) =>
        runPeer(peers, { ...options, name: `go${index}`, pods }),
      ),
    );
    return judge(parts, crowd, window);
  };
}

function spread(pods: number): number[] {
  const processes = Math.min(MOST_PROCESSES, pods);
  return Array.from({ length: processes }, (_, index) =>
    Math.floor((pods + index) / processes),
  );
}

function windowOf({ pods }: Crowd, duration: number): Window {
  const from = monotonic() + WARM_UP + pods * WARM_UP_OF_POD;
  return [from, from + duration];
}

async function runPeer(binary: string, options: PeerOptions): Promise<Part> {
  const kind = options.clientGo ? 'client-go' : 'k8slock';
  const child = spawn(binary, [kind], { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.write(`${JSON.stringify(options)}\n`);
  const [output, complaints] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
  ]);
  const lines = output.trim().split('\n');
  const counted = lines.findIndex((line) => line.includes('"requests"'));
  if (counted === -1) {
    throw new Error(`${kind} has not counted its requests: ${complaints}`);
  }
  const [line] = lines.splice(counted, 1);
  const { count }: { count: number } = JSON.parse(line!);
  return {
    beliefs: beliefsOf(options.name, lines).map((belief) => ({
      ...belief,
      process: belief.holding.replace(/_\d+$/, ''),
    })),
    requests: count,
    errors: complaints.split('\n').filter((each) => each !== ''),
  };
}

function judge(
  parts: readonly Part[],
  { pods, callersPerPod }: Crowd,
  [from, to]: Window,
): Contest {
  const all = parts
    .flatMap(({ beliefs }) => beliefs)
    .toSorted((a, b) => a.from - b.from);
  const counted = all.filter((each) => each.from >= from && each.from < to);
  const shares = new Map<string, number>();
  for (const { process } of counted) {
    shares.set(process, (shares.get(process) ?? 0) + 1);
  }
  const counts = [...shares.values()];
  const overlaps = overlapsAmong(all);
  const least = shares.size < pods * callersPerPod ? 0 : Math.min(...counts);
  return {
    locksPerSecond: (counted.length / (to - from)) * 1_000,
    requestsPerLock:
      sum(parts.map(({ requests }) => requests)) / counted.length,
    share: least / Math.max(1, ...counts),
    waits: counted.map((belief) => belief.from - belief.asked!),
    handovers: handoversAmong(counted),
    overlaps: overlaps.length,
    faults: [
      ...overlaps,
      ...all
        .filter(({ how }) => how === 'lost')
        .map(({ holding, lock }) => `${holding} lost ${lock}`),
      ...parts.flatMap(({ errors }) => errors),
    ],
  };
}

function handoversAmong(beliefs: readonly Belief[]): number[] {
  return beliefs.slice(1).flatMap((next, index) => {
    const last = beliefs[index]!;
    return next.process === last.process ? [] : [next.from - last.to];
  });
}

/** Two that hold the lock at once, and fencing tokens that have not risen. */
function overlapsAmong(beliefs: readonly Belief[]): string[] {
  return [
    ...findOverlaps(beliefs).map(
      ({ earlier, later, duration }) =>
        `${later.holding} acquired ${later.lock} while ${earlier.holding} held it, for ${duration.toFixed(2)} ms`,
    ),
    ...findStaleTokens(beliefs).map(
      ({ holding, lock }) => `the token of ${holding} in ${lock} has not risen`,
    ),
  ];
}

/** The medians of several contests, and of all waits in them, as the columns of a table. */
export function summarize(contests: readonly Contest[]) {
  const middle = (figure: (contest: Contest) => number): number =>
    median(contests.map(figure));
  const waits = contests.flatMap((each) => each.waits);
  const handovers = contests.flatMap((each) => each.handovers);
  return {
    'locks/s': middle((each) => each.locksPerSecond),
    'requests a lock': middle((each) => each.requestsPerLock),
    'least/most': middle((each) => each.share),
    'wait p50 ms': percentile(waits, 0.5),
    'wait p99 ms': percentile(waits, 0.99),
    'handover p50 ms': percentile(handovers, 0.5),
    overlaps: sum(contests.map((each) => each.overlaps)),
  };
}
