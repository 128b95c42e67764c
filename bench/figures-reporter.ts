/** Prints what the benchmarks have found out, as one table at the end of the run. */
import { basename } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';
import type { Figure } from './figures.js';

export default class FiguresReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const rows = modules.flatMap((module) =>
      [...module.children.allTests()].flatMap((test) => {
        const bench = basename(module.moduleId).replace(/\.bench\.ts$/, '');
        const server = /(\w+) API server/.exec(test.fullName)?.[1] ?? '';
        return (test.meta().figures ?? []).map((figure) => [
          bench,
          server,
          figure.what,
          figure.value,
          verdictOn(figure),
        ]);
      }),
    );
    const table = [['bench', 'server', 'figure', 'value', 'required'], ...rows];
    const widths = table[0]!.map((_, column) =>
      Math.max(...table.map((row) => row[column]!.length)),
    );
    const lines = table.map((row) =>
      row
        .map((local, column) => local.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    );
    process.stdout.write(`\n${lines.join('\n')}\n\n`);
  }
}

function verdictOn({ required, met }: Figure): string {
  if (required === undefined) {
    return '';
  }
  return `${required}: ${met ? 'met' : 'MISSED'}`;
}
