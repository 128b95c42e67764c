/** The table of what came of every combination, with each version of Nest and each place of the lock. */

export class CombinationsTable {
  private readonly cells = new Map<string, string>();

  constructor(
    private readonly columns: readonly string[],
    private readonly rows: readonly string[],
  ) {}

  set(row: string, column: string, text: string): void {
    this.cells.set(`${row} ${column}`, text);
  }

  toString(): string {
    const table = [
      ['', ...this.columns],
      ...[...new Set(this.rows)].map((row) => [
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
