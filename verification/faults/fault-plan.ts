/** Plans from a seed which faults are to be injected, and when. */
import type { Random } from '../simulation/random.js';

/** What can be done at the same time is in different lanes; in a lane there is one fault after the other. */
const LANES = [
  'process',
  'line',
  'network',
  'answers',
  'writes',
  'by hand',
  'server',
] as const;
export type Lane = (typeof LANES)[number];

interface FaultKind {
  readonly lane: Lane;
  /** Milliseconds, from least to most; absent: it is over at once. */
  readonly lasts?: readonly [least: number, most: number];
}

/** Longer than any lease that expires. */
const LONGER_THAN_LEASE = [4_500, 6_500] as const;
const DEATH = [0, 3_000] as const;
const OUTAGE = [500, 8_000] as const;
const STORM = [1_000, 4_000] as const;

const FAULT_KINDS = {
  'SIGSTOP for longer than the lease': {
    lane: 'process',
    lasts: LONGER_THAN_LEASE,
  },
  'SIGSTOP for less than the lease': { lane: 'process', lasts: [200, 1_500] },
  'kill -9 and restart': { lane: 'process', lasts: DEATH },
  'event loop blocked for longer than the lease': {
    lane: 'process',
    lasts: LONGER_THAN_LEASE,
  },
  'kill -9 of a process that has just enrolled': { lane: 'line', lasts: DEATH },
  'kill -9 of a process that has just granted': { lane: 'line', lasts: DEATH },
  'kill -9 of a process that was just granted a lock': {
    lane: 'line',
    lasts: DEATH,
  },
  'SIGSTOP of a process that was just granted a lock': {
    lane: 'line',
    lasts: LONGER_THAN_LEASE,
  },
  'requests held back (one-way)': { lane: 'network', lasts: OUTAGE },
  'answers held back (one-way)': { lane: 'network', lasts: OUTAGE },
  'black hole': { lane: 'network', lasts: OUTAGE },
  'slow network': { lane: 'network', lasts: OUTAGE },
  'connections reset': { lane: 'network', lasts: STORM },
  'connections refused': { lane: 'network', lasts: OUTAGE },
  '409 storm': { lane: 'answers', lasts: STORM },
  '429 storm': { lane: 'answers', lasts: STORM },
  '500 storm': { lane: 'answers', lasts: STORM },
  '403 storm': { lane: 'answers', lasts: STORM },
  '409 although it was done': { lane: 'answers', lasts: STORM },
  '500 although it was done': { lane: 'answers', lasts: STORM },
  'reset in the middle of an answer': { lane: 'answers', lasts: STORM },
  'watches cut every second': { lane: 'answers', lasts: [2_000, 6_000] },
  'writes sent on seconds late': { lane: 'writes', lasts: STORM },
  'answers to PATCH lost': { lane: 'writes', lasts: STORM },
  'Lease deleted': { lane: 'by hand' },
  'holder overwritten': { lane: 'by hand' },
  'holder cleared': { lane: 'by hand' },
  'labels and annotations edited': { lane: 'by hand' },
  'renewTime edited': { lane: 'by hand' },
  'API server stopped and started': { lane: 'server', lasts: [500, 4_000] },
  'API server killed and started': { lane: 'server' },
  'API server paused': { lane: 'server', lasts: [500, 4_000] },
  'disk of etcd slow': { lane: 'server', lasts: [2_000, 6_000] },
  'etcd compacted': { lane: 'server' },
} as const satisfies Record<string, FaultKind>;

export type FaultName = keyof typeof FAULT_KINDS;

export interface PlannedFault {
  readonly kind: FaultName;
  readonly lane: Lane;
  /** Milliseconds from the start. */
  readonly at: number;
  readonly duration: number;
  /** For what is still to be drawn when the time has come. */
  readonly random: Random;
}

/** Between two faults of a lane, in comparison with the others. */
const GAPS: Record<Lane, number> = {
  process: 1,
  line: 4,
  network: 1,
  answers: 1,
  writes: 1,
  'by hand': 2.5,
  server: 5,
};

export const FAULT_NAMES = Object.keys(FAULT_KINDS).filter(isFaultName);

/**
 * @param duration milliseconds; all faults are over by then
 * @param gap milliseconds between two faults of a lane, on average
 */
export function planFaults(
  random: Random,
  duration: number,
  gap: number,
  names: readonly FaultName[],
): PlannedFault[] {
  return LANES.flatMap((lane) => {
    const kinds = names.filter((name) => FAULT_KINDS[name].lane === lane);
    if (kinds.length === 0) {
      return [];
    }
    return planLane(lane, kinds, random.fork(lane), duration, gap);
  }).toSorted((a, b) => a.at - b.at);
}

/** Every kind comes before any comes again. */
function planLane(
  lane: Lane,
  kinds: readonly FaultName[],
  random: Random,
  duration: number,
  gap: number,
): PlannedFault[] {
  const planned: PlannedFault[] = [];
  let deck: readonly FaultName[] = [];
  for (let at = 0; ;) {
    if (deck.length === 0) {
      deck = kinds;
    }
    const kind = random.pick(deck);
    deck = deck.filter((each) => each !== kind);
    const { lasts = [0, 0] }: FaultKind = FAULT_KINDS[kind];
    at += random.between(0, 2 * gap * GAPS[lane]);
    const length = random.between(...lasts);
    if (at + length > duration) {
      return planned;
    }
    const own = random.fork(String(planned.length));
    planned.push({ kind, lane, at, duration: length, random: own });
    at += length;
  }
}

function isFaultName(name: string): name is FaultName {
  return name in FAULT_KINDS;
}
