/** What a benchmark comes to: tables of figures, targets that are met or not, and faults. */

export interface Report {
  readonly tables: readonly Table[];
  readonly targets: readonly Target[];
  /** What must not be, as an overlap: it fails the run. */
  readonly faults: readonly string[];
}

export interface Table {
  readonly title: string;
  readonly rows: readonly Row[];
}

export type Row = Readonly<Record<string, string | number>>;

/** What a figure has to be, at least or at most. */
export interface Target {
  readonly what: string;
  readonly value: number;
  readonly least?: number;
  readonly most?: number;
  /** What it had to be at first, if that was out of reach: the page says why. */
  readonly was?: number;
}

function isMet({ value, least = -Infinity, most = Infinity }: Target): boolean {
  return value >= least && value <= most;
}

/** A table in Markdown, aligned for the terminal. The keys of the rows are the columns. */
export function inMarkdown(rows: readonly Row[]): string {
  const columns = Object.keys(rows[0] ?? {});
  const cells = [
    columns,
    ...rows.map((row) =>
      columns.map((column) => show(row[column] ?? Number.NaN)),
    ),
  ];
  const widths = columns.map((_, column) =>
    Math.max(3, ...cells.map((row) => row[column]!.length)),
  );
  const lines = cells.map(
    (row) =>
      `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`,
  );
  lines.splice(1, 0, `| ${widths.map((n) => '-'.repeat(n)).join(' | ')} |`);
  return lines.join('\n');
}

/** The targets beside what was measured. */
export function judge(targets: readonly Target[]): Row[] {
  return targets.map((target) => ({
    target: target.what,
    required:
      (target.least === undefined
        ? `at most ${target.most}`
        : `at least ${target.least}`) +
      (target.was === undefined ? '' : ` (was ${target.was})`),
    measured: target.value,
    verdict: isMet(target) ? 'met' : '**not met**',
  }));
}

/** Three digits that count; a dash where there is nothing to count. */
function show(cell: string | number): string {
  if (Number.isNaN(cell)) {
    return '–';
  }
  if (typeof cell === 'string' || Number.isInteger(cell)) {
    return String(cell);
  }
  const size = Math.abs(cell);
  return cell.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

/** The least sample that is no smaller than this share of all. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return (
    sorted[Math.max(Math.ceil(sorted.length * share) - 1, 0)] ?? Number.NaN
  );
}

export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}

export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
