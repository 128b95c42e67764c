/** The demo of sample 03: two jobs in three replicas whose clocks differ, and how often each fire runs. */
import type { Demo, Findings, Running } from './demo.js';
import type { Display } from './display.js';
import type { Replicas } from './replicas.js';
import type { Work, WorkLog } from './work-log.js';

const SECOND = 1_000;
/** A job, and a column of the table. */
const STATEMENTS = 'statements';
const RATES = 'rates';

export const oncePerFire: Demo = {
  about:
    'Two @Cron jobs fire every second in three replicas, whose clocks are 0.4 s ahead, right, and 0.4 s behind.',
  seconds: 60,
  replicas: {
    ahead: { CLOCK_SHIFT: '400' },
    right: { CLOCK_SHIFT: '0' },
    behind: { CLOCK_SHIFT: '-400' },
  },
  run,
};

async function run({
  replicas,
  log,
  display,
  seconds,
}: Running): Promise<Findings> {
  const calls = new Calls(replicas);
  await calls.untilAllReach(0);
  const first = calls.latest + SECOND;
  const fires: number[] = [];
  display.print(row('planned for', 'oncePerFire', 'oncePerFire: false'));
  for (let fire = first; fires.length < seconds; fire += SECOND) {
    // oxlint-disable-next-line no-await-in-loop -- one fire after the other
    await calls.untilAllReach(fire + SECOND);
    // A scheduler that is late may leave a fire out: then no lock was asked for it.
    if (calls.has(fire)) {
      fires.push(fire);
    }
    const who = [STATEMENTS, RATES].map((job) =>
      runsOf(log, job, fire)
        .map(({ replica }) => replica)
        .join(', '),
    );
    display.print(row(new Date(fire).toISOString().slice(11, 19), ...who));
  }
  // What has not run by the time that a later fire runs, will not run.
  const last = fires.at(-1)!;
  const isLater = ({ subject, fire = 0 }: Pick<Work, 'subject' | 'fire'>) =>
    subject === STATEMENTS && fire > last;
  if (!log.inOrder.some(isLater)) {
    await replicas.next('begin', isLater);
  }
  return () => judge(fires, log, display);
}

/** For which fires the schedulers have called the first job; they call both at the same time. */
class Calls {
  private readonly fires = new Set<number>();
  private readonly latestOf = new Map<string, number>();

  constructor(private readonly replicas: Replicas) {
    replicas.on('report', (report, replica) => {
      if (report.type === 'fire' && report.job === STATEMENTS) {
        this.fires.add(report.fire);
        this.latestOf.set(replica, report.fire);
      }
    });
  }

  get latest(): number {
    return Math.max(...this.latestOf.values());
  }

  has(fire: number): boolean {
    return this.fires.has(fire);
  }

  /** Resolves when each replica was called for this fire or a later one. */
  async untilAllReach(fire: number): Promise<void> {
    const isBehind = ({ name }: { name: string }): boolean =>
      (this.latestOf.get(name) ?? -1) < fire;
    while (this.replicas.all.some(isBehind)) {
      // oxlint-disable-next-line no-await-in-loop -- each may be the one
      await this.replicas.next('fire', () => true);
    }
  }
}

function judge(
  fires: readonly number[],
  log: WorkLog,
  display: Display,
): string[] {
  const counts = [STATEMENTS, RATES].map((job) => {
    const runs = fires.map((fire) => runsOf(log, job, fire).length);
    return {
      runs: add(runs),
      doubles: add(runs.map((count) => Math.max(count - 1, 0))),
      missed: runs.filter((count) => count === 0).length,
    };
  });
  const [claimed, unclaimed] = counts;
  display.print(
    row(`${fires.length} fires`, 'oncePerFire', 'oncePerFire: false'),
  );
  for (const name of ['runs', 'doubles', 'missed'] as const) {
    display.print(row(name, ...counts.map((count) => String(count[name]))));
  }
  display.print();
  return [
    ...(claimed!.doubles > 0 ? ['with oncePerFire, fires ran twice'] : []),
    ...(claimed!.missed > 0 ? ['with oncePerFire, fires did not run'] : []),
    ...(unclaimed!.doubles === 0
      ? ['without oncePerFire, no fire ran twice: this shows nothing']
      : []),
  ];
}

function runsOf(log: WorkLog, job: string, fire: number): Work[] {
  return log.inOrder.filter(
    (work) => work.subject === job && work.fire === fire,
  );
}

function add(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function row(first: string, ...[second = '', third = '']: string[]): string {
  return `  ${first.padEnd(13)}${second.padEnd(26)}${third}`;
}
