/** The figures of meetings, as a table in Markdown. */
import type { Outcome } from './outcome.js';

const HEADINGS = [
  'ours and',
  'participant',
  'turns',
  'longest turn',
  'longest wait',
  'overlaps with ours',
  'overlaps of others',
  'worst hand-over',
  '… from one who does not release',
];

export function tableOf(outcomes: readonly Outcome[]): string {
  const rows = [
    HEADINGS,
    ...outcomes.flatMap((outcome) =>
      outcome.participants.map((participant, index) => [
        ...(index === 0 ? [outcome.title] : ['']),
        participant.name,
        String(participant.turns),
        inSeconds(participant.longestTurn),
        inSeconds(participant.longestWait),
        ...(index === 0 ? summaryOf(outcome) : ['', '', '', '']),
      ]),
    ),
  ];
  const widths = HEADINGS.map((_, column) =>
    Math.max(...rows.map((row) => row[column]!.length)),
  );
  const lines = rows.map(
    (row) =>
      `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`,
  );
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [lines[0], rule, ...lines.slice(1)].join('\n');
}

function summaryOf(outcome: Outcome): string[] {
  const { afterRelease, afterExpiry } = outcome.worstHandover;
  return [
    String(outcome.overlapsWithOurs.length),
    String(outcome.overlapsAmongOthers.length),
    inSeconds(afterRelease),
    afterExpiry === 0 ? '' : inSeconds(afterExpiry),
  ];
}

function inSeconds(milliseconds: number): string {
  return `${(milliseconds / 1_000).toFixed(2)} s`;
}
