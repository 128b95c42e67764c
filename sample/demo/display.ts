/** The console: one line for each thing that happens, and tables. */
import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

const COLOURS: Readonly<Record<string, Style>> = {
  'replica-1': 'cyan',
  'replica-2': 'magenta',
  'replica-3': 'yellow',
  client: 'blue',
};

export class Display {
  private readonly start = process.hrtime.bigint();
  private readonly hasColours =
    process.stdout.isTTY && process.stdout.hasColors();

  print(text = '', style?: Style): void {
    process.stdout.write(`${this.paint(style, text)}\n`);
  }

  /** Prints that something happened: now, or at the given time. */
  log(
    who: string,
    what: string,
    detail: string,
    {
      style,
      at = process.hrtime.bigint(),
    }: { style?: Style; at?: bigint } = {},
  ): void {
    const time = (Number(at - this.start) / 1e9).toFixed(2);
    const columns = [
      this.paint('dim', time.padStart(6)),
      this.paint(COLOURS[who], who.padEnd(9)),
      this.paint(style, what.padEnd(6)),
      this.paint(style === 'dim' ? style : undefined, detail),
    ];
    this.print(columns.join('  '));
  }

  /** Rows of a name, numbers, and a note. */
  table(rows: readonly { name: string; numbers: string[]; note?: string }[]) {
    const width = Math.max(...rows.map(({ name }) => name.length));
    for (const { name, numbers, note } of rows) {
      const columns = [
        this.paint(COLOURS[name], name.padEnd(width)),
        ...numbers.map((number) => number.padStart(7)),
        ...(note === undefined ? [] : [note]),
      ];
      this.print(`  ${columns.join('  ')}`);
    }
  }

  private paint(style: Style | undefined, text: string): string {
    return style && this.hasColours ? styleText(style, text) : text;
  }
}

/** A duration, for people. */
export function seconds(nanoseconds: bigint): string {
  return `${(Number(nanoseconds) / 1e9).toFixed(2)} s`;
}
