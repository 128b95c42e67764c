/** The end of the show: the tables, and whether all went as locks promise. */
import type { Display } from '../../stage/display.js';
import {
  findFault,
  isDone,
  lockOf,
  type Answer,
  type Clients,
} from './client.js';
import type { Entry, Ledger } from './ledger.js';
import { ROUTES } from './routes.js';

/** Prints the tables and the verdict; returns whether it is good. */
export function judge(
  { answers }: Clients,
  { entries }: Ledger,
  broken: readonly string[],
  display: Display,
): boolean {
  const overlaps = findPairs(entries, (a, b) => a.account === b.account);
  const sideBySide = findPairs(
    entries,
    (a, b) => isOrder(a) && isOrder(b) && a.account !== b.account,
  );
  const stale = entries.filter(({ outcome }) => outcome === 'stale');
  printTables(answers, display, [
    {
      name: 'entries',
      count: entries.length,
      note: 'that the ledger was asked for',
    },
    {
      name: 'overlaps',
      count: overlaps,
      note: 'pairs of entries to one order, item or list that had a moment in common',
    },
    {
      name: 'side by side',
      count: sideBySide,
      note: 'pairs of entries to different orders that had',
    },
    {
      name: 'stale',
      count: stale.length,
      note: 'entries that the ledger refused for their fencing token',
    },
  ]);

  const faults = [
    ...broken,
    ...(overlaps > 0
      ? [`something was worked on twice at a time, ${overlaps} times`]
      : []),
    ...(stale.length > 0 ? ['a fencing token was less than one before'] : []),
    ...(sideBySide === 0
      ? ['no two orders were settled at the same time, so this shows nothing']
      : []),
    ...new Set(answers.flatMap((answer) => findFault(answer) ?? [])),
    ...findLostWork(answers, entries),
  ];
  if (faults.length > 0) {
    display.print(`FAILED: ${faults.join('; ')}.`, 'red');
    return false;
  }
  display.print(
    'OK: no order was worked on twice at a time, and every request got the answer that its route promises.',
    'green',
  );
  return true;
}

function isOrder({ account }: Entry): boolean {
  return account.startsWith('order-');
}

/** How many pairs of entries had a moment in common. */
function findPairs(
  entries: readonly Entry[],
  isCounted: (one: Entry, other: Entry) => boolean,
): number {
  return entries.flatMap((entry, index) =>
    entries
      .slice(index + 1)
      .filter(
        (later) =>
          later.begin < (entry.end ?? Infinity) && isCounted(entry, later),
      ),
  ).length;
}

/** Each request that was served has made one entry, and no other has. */
function findLostWork(
  answers: readonly Answer[],
  entries: readonly Entry[],
): string[] {
  const accounts = new Set(entries.map(({ account }) => account));
  return [...accounts].flatMap((account) => {
    const served = answers.filter(
      (answer) => lockOf(answer) === account && isDone(answer),
    ).length;
    const written = entries.filter(
      (entry) => entry.account === account && entry.outcome === 'written',
    ).length;
    return served === written
      ? []
      : [`${served} requests for ${account} were served by ${written} entries`];
  });
}

function printTables(
  answers: readonly Answer[],
  display: Display,
  counts: readonly { name: string; count: number; note: string }[],
): void {
  display.print();
  display.table(
    Object.entries(ROUTES).map(([name, { method, path, policy }]) => ({
      name: `${method} ${path}`,
      numbers: [],
      note: `${policy.padEnd(26)}  ${countStatuses(
        answers.filter(({ route }) => route === name),
      )}`,
    })),
  );
  display.print();
  display.table(
    counts.map(({ name, count, note }) => ({
      name,
      numbers: [String(count)],
      note,
    })),
  );
  display.print();
}

/** `201: 12, 423: 3` */
function countStatuses(answers: readonly Answer[]): string {
  const statuses = answers.map(({ status }) => status);
  return [...new Set(statuses)]
    .toSorted((a, b) => a - b)
    .map((status) => {
      const count = statuses.filter((each) => each === status).length;
      return `${status}: ${count}`;
    })
    .join(', ');
}
