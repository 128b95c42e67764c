/** Has contenders meet, and judges what comes of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Belief } from '../beliefs/belief-log.js';
import { findOverlaps, type Overlap } from '../beliefs/overlaps.js';
import { Contender } from './contender.js';
import type { Meeting } from './meetings.js';

/** What a meeting came to. */
export interface Outcome {
  readonly title: string;
  readonly participants: readonly Participation[];
  /** Two who believed that they hold the lock at the same time, one of them ours. */
  readonly overlapsWithOurs: readonly Overlap[];
  readonly overlapsAmongOthers: readonly Overlap[];
  /** Beliefs of ours that ended otherwise than by a release. */
  readonly losses: readonly Belief[];
  /** Whatever is on the stderr of a process, and ends that are none in order. */
  readonly complaints: readonly string[];
  /** The longest times, in milliseconds, in which nobody had the lock and somebody waited for it. */
  readonly worstHandover: {
    readonly afterRelease: number;
    /** From one who does not release: its lease has to expire. */
    readonly afterExpiry: number;
  };
}

export interface Participation {
  readonly name: string;
  readonly turns: number;
  /** Milliseconds. */
  readonly longestTurn: number;
  readonly longestWait: number;
}

export interface MeetingSetting {
  /** What `buildForProcesses` has built. */
  readonly build: string;
  /** What `obtainPeers` gives. */
  readonly binary: string;
  readonly kubeConfigYaml: string;
  readonly namespace: string;
}

/**
 * Has all meet at the same time, each on a Lease of its own: until everybody has had a turn, and for
 * so many seconds more.
 *
 * @param turnTimeout seconds in which everybody must have had a turn
 */
export async function runMeetings(
  meetings: readonly Meeting[],
  { build, binary, ...cluster }: MeetingSetting,
  { seconds, turnTimeout }: { seconds: number; turnTimeout: number },
): Promise<Outcome[]> {
  const names = new Set(meetings.flatMap(({ ours }) => Object.keys(ours)));
  const ours = [...names].map((name) => {
    const locks = meetings.flatMap((meeting) => {
      const part = meeting.ours[name];
      return part === undefined ? [] : [{ ...part, lock: meeting.lock }];
    });
    const process = Contender.ours(build, { ...cluster, name, locks });
    return { process, locks: locks.map(({ lock }) => lock) };
  });
  const peers = meetings.flatMap(({ lock, peers: parts }) =>
    Object.entries(parts).map(([name, part]) => {
      const options = { ...cluster, ...part, name, lock };
      return { process: Contender.peer(binary, options), locks: [lock] };
    }),
  );
  const contenders = [...ours, ...peers];
  const everybodysTurn = Promise.allSettled(
    contenders.flatMap(({ process, locks }) =>
      locks.map((lock) => process.acquired(lock)),
    ),
  );
  const timeIsUp = sleep(turnTimeout * 1_000, undefined, { ref: false });
  await Promise.race([everybodysTurn, timeIsUp]);
  await sleep(seconds * 1_000);

  const complaints = new Map(
    await Promise.all(
      contenders.map(
        async ({ process }) => [process, await process.finish()] as const,
      ),
    ),
  );
  return meetings.map((meeting) => {
    const present = contenders.filter(({ locks }) =>
      locks.includes(meeting.lock),
    );
    return judge(
      meeting,
      present.flatMap(({ process }) =>
        process.beliefs().filter(({ lock }) => lock === meeting.lock),
      ),
      present.flatMap(({ process }) => complaints.get(process)!),
    );
  });
}

function judge(
  { title, ours, peers }: Meeting,
  beliefs: readonly Belief[],
  complaints: readonly string[],
): Outcome {
  const isOurs = ({ process }: Belief): boolean => process in ours;
  const overlaps = findOverlaps(beliefs);
  const involvesOurs = ({ earlier, later }: Overlap): boolean =>
    isOurs(earlier) || isOurs(later);
  const keeps = ({ process }: Belief): boolean =>
    peers[process]?.clientGo?.releaseOnCancel === false;
  const handovers = findHandovers(beliefs);
  return {
    title,
    participants: [...Object.keys(ours), ...Object.keys(peers)].map((name) => {
      const own = beliefs.filter(({ process }) => process === name);
      return {
        name,
        turns: own.length,
        longestTurn: Math.max(0, ...own.map(({ from, to }) => to - from)),
        longestWait: Math.max(
          0,
          ...own.map(({ from, asked }) => from - asked!),
        ),
      };
    }),
    overlapsWithOurs: overlaps.filter(involvesOurs),
    overlapsAmongOthers: overlaps.filter((each) => !involvesOurs(each)),
    losses: beliefs.filter((each) => isOurs(each) && each.how !== 'released'),
    complaints,
    worstHandover: {
      afterRelease: longest(handovers.filter(({ from }) => !keeps(from))),
      afterExpiry: longest(handovers.filter(({ from }) => keeps(from))),
    },
  };
}

/** What is wrong with an outcome: whatever must not be in a meeting in which all keep to the rules. */
export function findFaults(outcome: Outcome): string[] {
  const { title, participants, overlapsWithOurs, losses, complaints } = outcome;
  return [
    ...overlapsWithOurs.map(
      ({ earlier, later, duration }) =>
        `${later.holding} acquired the lock while ${earlier.holding} held it, for ${duration.toFixed(1)} ms`,
    ),
    ...losses.map(
      ({ holding, how, reason }) => `${holding} ended: ${reason ?? how}`,
    ),
    ...participants
      .filter(({ turns }) => turns === 0)
      .map(({ name }) => `${name} had no turn`),
    ...complaints,
  ].map((fault) => `${title}: ${fault}`);
}

interface Handover {
  readonly from: Belief;
  readonly duration: number;
}

/** How long the lock was free, before each belief but the first, while somebody waited who got it later. */
function findHandovers(beliefs: readonly Belief[]): Handover[] {
  const inOrder = beliefs.toSorted((a, b) => a.from - b.from);
  return inOrder.slice(1).map((next, index) => {
    const from = inOrder[index]!;
    const waitingSince = Math.min(
      ...inOrder.slice(index + 1).map(({ asked }) => asked!),
    );
    return { from, duration: next.from - Math.max(from.to, waitingSince) };
  });
}

function longest(handovers: readonly Handover[]): number {
  return Math.max(0, ...handovers.map(({ duration }) => duration));
}
