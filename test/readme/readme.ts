/** Reads README.md: its code blocks, tables, links and quoted messages, for the tests that check them. */
import { readFileSync } from 'node:fs';

/** A fenced block. Its opening line is ```` ```ts id ````. */
export interface Block {
  readonly language: string;
  readonly id: string;
  readonly code: string;
}

/** The rows of a table without its head, each with its cells as they stand in the source. */
export type Table = readonly (readonly string[])[];

const text = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const FENCE = /^```(\S*) ?(.*)\n([\s\S]*?)^```$/gm;
const prose = text.replace(FENCE, '');

/** All blocks, or those in one language. */
export function findBlocks(language?: string): Block[] {
  return [...text.matchAll(FENCE)]
    .map(([, name = '', id = '', code = '']) => ({ language: name, id, code }))
    .filter((block) => language === undefined || block.language === language);
}

export function findBlock(id: string): Block {
  const block = findBlocks().find((each) => each.id === id);
  if (block === undefined) {
    throw new Error(`README.md has no block "${id}"`);
  }
  return block;
}

/** The tables of a section, in order; `heading` as it stands in the source. */
export function findTables(heading: string): Table[] {
  const tables = findSection(heading).match(/(?:^\|.*\n)+/gm) ?? [];
  return tables.map((table) =>
    table.trimEnd().split('\n').slice(2).map(readRow),
  );
}

/** The one table of a section. */
export function findTable(heading: string): Table {
  const [table, ...others] = findTables(heading);
  if (table === undefined || others.length > 0) {
    throw new Error(`"${heading}" in README.md must have one table`);
  }
  return table;
}

/** The code spans in a piece of Markdown. */
export function findCode(markdown: string): string[] {
  return [...markdown.matchAll(/(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)/g)].map(
    ([, , code = '']) => code.trim(),
  );
}

/** What the rows of a table are about: the code in their first cells. */
export function namesIn(table: Table): string[] {
  return table.flatMap(([cell = '']) =>
    findCode(cell).map((code) => code.replace('()', '')),
  );
}

/** The items of the lists in a section, each by its first line. */
export function findItems(heading: string): string[] {
  return [...findSection(heading).matchAll(/^- (.*)$/gm)].map(
    ([, line = '']) => line,
  );
}

/** Where the links to other parts of the page lead. */
export function findAnchors(): string[] {
  return [...prose.matchAll(/\]\(#([^)]*)\)/g)].map(
    ([, anchor = '']) => anchor,
  );
}

/** The anchors that GitHub gives to the headings. */
export function findTargets(): string[] {
  return [...prose.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

/** Up to the next heading of this level or a higher one. */
function findSection(heading: string): string {
  const start = prose.indexOf(`\n${heading}\n`);
  if (start === -1) {
    throw new Error(`README.md has no heading "${heading}"`);
  }
  const body = prose.slice(start + heading.length + 2);
  const level = heading.indexOf(' ');
  return body.split(new RegExp(`^#{1,${level}} `, 'm'), 1)[0]!;
}

function readRow(line: string): string[] {
  return line
    .slice(1, -1)
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim());
}

/** The members of a type, to compare with a table; the compiler checks that none is missing. */
export function keysOf<K extends PropertyKey>(keys: Record<K, true>): string[] {
  return Object.keys(keys);
}
