/** Prints for people and programs: tables that fit, JSON and YAML, colour only on a terminal. Nothing that others wrote reaches a terminal as it is. */
import { printable } from '../printable.js';

/** The longest text of one message or cell, in characters: a holder may have 100 kB. */
const LONGEST = 1_000;
/** The width of a table that is not printed on a terminal. */
const UNLIMITED = Infinity;
/** The least width to which a column is cut. */
const LEAST = 8;

/** Replaces all that a terminal could take for a command, and cuts the text. */
export function clean(text: string): string {
  return printable(text, LONGEST);
}

/** As {@link clean} for a text of several lines. */
function cleanLines(text: string): string {
  return text
    .slice(0, 20 * LONGEST)
    .split('\n')
    .map((line) => clean(line))
    .join('\n');
}

type Colour = 'red' | 'green' | 'yellow' | 'dim' | 'bold';
const CODES: Record<Colour, number> = {
  red: 31,
  green: 32,
  yellow: 33,
  dim: 2,
  bold: 1,
};

/** Whether to colour what goes to this stream: https://no-color.org. */
function isColoured(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}

/** A cell of a table. */
export interface Cell {
  readonly text: string;
  readonly colour?: Colour;
}

/** Lays out a table in the width of the terminal: the widest columns are cut. */
export function table(
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
): string {
  const stream = process.stdout;
  const cells = [
    head.map((text): Cell => ({ text, colour: 'bold' })),
    ...rows,
  ].map((row) => row.map((cell) => ({ ...cell, text: clean(cell.text) })));
  const widths = head.map((_, column) =>
    Math.max(...cells.map((row) => widthOf(row[column]!.text))),
  );
  fit(widths, stream.isTTY ? stream.columns : UNLIMITED);
  return cells
    .map((row) =>
      row
        .map(({ text, colour }, column) => {
          const short = shorten(text, widths[column]!);
          const isLast = column === row.length - 1;
          const pad = isLast ? 0 : widths[column]! - widthOf(short);
          const shown = colour ? paint(short, colour) : short;
          return shown + ' '.repeat(pad);
        })
        .join('   ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

/** A text for the standard output. */
export function paint(text: string, colour: Colour): string {
  return isColoured(process.stdout)
    ? `\u001B[${CODES[colour]}m${text}\u001B[0m`
    : text;
}

/** Takes width from the widest columns until they fit with the gaps between them. */
function fit(widths: number[], columns: number): void {
  const room = columns - 3 * (widths.length - 1);
  let total = widths.reduce((sum, width) => sum + width, 0);
  while (total > room) {
    const widest = Math.max(...widths);
    if (widest <= LEAST) {
      return;
    }
    const next = Math.max(LEAST, ...widths.filter((width) => width < widest));
    const columnsOfIt = widths.filter((width) => width === widest).length;
    const cut = Math.max(
      1,
      Math.min(widest - next, Math.ceil((total - room) / columnsOfIt)),
    );
    widths.forEach((width, column) => {
      if (width === widest) {
        widths[column] = width - cut;
      }
    });
    total -= cut * columnsOfIt;
  }
}

const WIDE =
  /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}\uFF01-\uFF60\u3000-\u303F]/u;

/** The columns that a text takes on a terminal. */
function widthOf(text: string): number {
  return Array.from(text).reduce(
    (sum, character) => sum + widthOfCharacter(character),
    0,
  );
}

function widthOfCharacter(character: string): number {
  if (/\p{M}/u.test(character)) {
    return 0;
  }
  return WIDE.test(character) ? 2 : 1;
}

function shorten(text: string, width: number): string {
  if (widthOf(text) <= width) {
    return text;
  }
  let used = 1;
  let short = '';
  for (const character of text) {
    used += widthOfCharacter(character);
    if (used > width) {
      break;
    }
    short += character;
  }
  return `${short}…`;
}

/** JSON in which every character that could act on a terminal is escaped. */
export function toJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replaceAll(
    // A line feed here is of the layout: one of a text is escaped already.
    /[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu,
    (character) =>
      Array.from(
        { length: character.length },
        (_, index) =>
          `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`,
      ).join(''),
  );
}

/** YAML: every text that is not a plain word is a quoted one, with the escapes of JSON. */
export function toYaml(value: unknown): string {
  return `${yamlLines(JSON.parse(JSON.stringify(value))).join('\n')}\n`;
}

function yamlLines(value: unknown): string[] {
  if (Array.isArray(value) && value.length > 0) {
    return value.flatMap((item) => {
      const [first = '', ...others] = yamlLines(item);
      return [`- ${first}`, ...others.map((line) => `  ${line}`)];
    });
  }
  if (isObject(value) && Object.keys(value).length > 0) {
    return Object.entries(value).flatMap(([key, member]) => {
      const lines = yamlLines(member);
      const isNested =
        typeof member === 'object' && member !== null && !isEmpty(member);
      return isNested
        ? [`${key}:`, ...lines.map((line) => `  ${line}`)]
        : [`${key}: ${lines[0]}`];
    });
  }
  return [toJson(value)];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isEmpty(value: object): boolean {
  return Object.keys(value).length === 0;
}

/** How long ago, as kubectl shows an age. */
export function ageOf(date: Date | undefined, now = Date.now()): string {
  return date === undefined ? '' : durationOf(now - date.getTime());
}

export function durationOf(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1_000);
  if (seconds < 0) {
    return `-${durationOf(-milliseconds)}`;
  }
  if (seconds < 120) {
    return `${seconds}s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) {
    return `${minutes}m`;
  }
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`;
}

export function print(text: string): void {
  process.stdout.write(text);
}

/** Says something besides the output: a fault, or what was done. */
export function say(text: string): void {
  process.stderr.write(`nestjs-k8s-lock: ${cleanLines(text)}\n`);
}
