/** The table of what came of every combination, with each version of Nest and each place of the lock. */

export class CombinationsTable {
  private readonly rows: readonly string[];
  private readonly cells = new Map<string, string>();

  constructor(
    private readonly columns: readonly string[],
    rows: readonly string[],
  ) {
    this.rows = [...new Set(rows)];
  }

  set(row: string, column: string, text: string): void {
    this.cells.set(`${row} ${column}`, text);
  }

  /** The rows with a cell that was never set. */
  findNotRun(): string[] {
    return this.rows.filter((row) =>
      this.columns.some((column) => !this.cells.has(`${row} ${column}`)),
    );
  }

  toString(): string {
    const table = [
      ['', ...this.columns],
      ...this.rows.map((row) => [
        row,
        ...this.columns.map(
          (column) => this.cells.get(`${row} ${column}`) ?? 'not run',
        ),
      ]),
    ];
    const widths = table[0]!.map((_, column) =>
      Math.max(...table.map((row) => row[column]!.length)),
    );
    return table
      .map((row) =>
        row
          .map((cell, column) => cell.padEnd(widths[column]!))
          .join('  ')
          .trimEnd(),
      )
      .join('\n');
  }
}
