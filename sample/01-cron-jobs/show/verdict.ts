/** The end of the show: the tables, and whether all went as locks promise. */
import { seconds, type Display } from '../../stage/display.js';
import { REPLICAS } from './replica-set.js';
import type { Kill, RunLog } from './run-log.js';

/** What happened to the replicas. */
export interface Outcome {
  /** The one that was killed at work. */
  kill?: Kill;
  /** The one that ended by itself, and how: a sentence. The show then ended early. */
  crash?: string;
}

/** Prints the tables and the verdict; returns whether it is good. */
export function judge(
  log: RunLog,
  outcome: Outcome,
  display: Display,
): boolean {
  display.print();
  if (log.size > 0) {
    printTables(log, outcome, display);
  }
  const faults = findFaults(log, outcome);
  if (faults.length > 0) {
    display.print(`FAILED: ${faults.join('; ')}.`, 'red');
    return false;
  }
  display.print(
    'OK: never did two replicas work at the same time, and one took over from the killed one.',
    'green',
  );
  return true;
}

function findFaults(log: RunLog, { kill, crash }: Outcome): string[] {
  const faults: string[] = [];
  const overlaps = log.findOverlaps().length;
  if (overlaps > 0) {
    faults.push(`replicas worked at the same time, ${overlaps} times`);
  }
  if (!log.haveTokensRisen()) {
    faults.push('a fencing token was not greater than the one before it');
  }
  if (crash !== undefined) {
    faults.push(crash);
  } else if (!kill) {
    faults.push('no replica could be killed at work');
  } else if (!log.findTakeover(kill)) {
    faults.push(`nobody took over from ${kill.replica}`);
  }
  return faults;
}

function printTables(log: RunLog, { kill }: Outcome, display: Display): void {
  const takeover = kill && log.findTakeover(kill);
  display.table([
    { name: 'replica', numbers: ['runs', 'skips'] },
    ...REPLICAS.map((name) => ({
      name,
      numbers: [String(log.countRuns(name)), String(log.countSkips(name))],
      note: name === kill?.replica ? 'killed at work' : undefined,
    })),
  ]);
  display.print();
  display.table([
    {
      name: 'overlaps',
      numbers: [String(log.findOverlaps().length)],
      note: 'pairs of runs that had a moment in common',
    },
    {
      name: 'takeover',
      numbers: [takeover ? seconds(takeover.begin - kill.at) : 'none'],
      note: 'kill -9 to the next run: the rest of the lease, which a fire has waited for',
    },
    {
      name: 'fencing tokens',
      numbers: [log.haveTokensRisen() ? 'rising' : 'MIXED'],
      note: 'each run has a greater one than all runs before it',
    },
  ]);
  display.print();
}
