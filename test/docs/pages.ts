/** Reads README.md, SECURITY.md and docs/: their code blocks, tables and links, for the tests that check them. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Page {
  /** From the root of the repository. */
  readonly path: string;
  readonly text: string;
  /** Without the code blocks. */
  readonly prose: string;
}

/** A fenced block. Its opening line is ```` ```ts id ````. */
export interface Block {
  readonly language: string;
  readonly id: string;
  readonly code: string;
}

/** The rows of a table without its head, each with its cells as they stand in the source. */
export type Table = readonly (readonly string[])[];

export const root = new URL('../../', import.meta.url);
const FENCE = /^```(\S*) ?(.*)\n([\s\S]*?)^```$/gm;

export const pages: readonly Page[] = [
  'README.md',
  'SECURITY.md',
  'sample/README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  ...readdirSync(new URL('docs', root))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
].map((path) => {
  const text = readFileSync(new URL(path, root), 'utf8');
  return { path, text, prose: text.replace(FENCE, '') };
});

/** All blocks, or those in one language. */
export function findBlocks(language?: string): Block[] {
  return pages
    .flatMap(({ text }) => [...text.matchAll(FENCE)])
    .map(([, name = '', id = '', code = '']) => ({ language: name, id, code }))
    .filter((block) => language === undefined || block.language === language);
}

export function findBlock(id: string): Block {
  const block = findBlocks().find((each) => each.id === id);
  if (block === undefined) {
    throw new Error(`no page has a block "${id}"`);
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
    throw new Error(`"${heading}" must have one table`);
  }
  return table;
}

/** The code spans in a piece of Markdown. */
export function findCode(markdown: string): string[] {
  return [...markdown.matchAll(/(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)/g)].map(
    ([, , code = '']) => code.trim(),
  );
}

/** The items of the lists in a section, each by its first line. */
export function findItems(heading: string): string[] {
  return [...findSection(heading).matchAll(/^- (.*)$/gm)].map(
    ([, line = '']) => line,
  );
}

/** The anchors that GitHub gives to the headings of a page. */
export function findAnchors({ prose }: Page): string[] {
  return [...prose.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

/** Up to the next heading of this level or a higher one. */
function findSection(heading: string): string {
  const sections = pages.flatMap(({ prose }) => {
    const start = prose.indexOf(`\n${heading}\n`);
    return start === -1 ? [] : prose.slice(start + heading.length + 2);
  });
  if (sections.length !== 1) {
    throw new Error(`${sections.length} pages have the heading "${heading}"`);
  }
  const level = heading.indexOf(' ');
  return sections[0]!.split(new RegExp(`^#{1,${level}} `, 'm'), 1)[0]!;
}

function readRow(line: string): string[] {
  return line
    .slice(1, -1)
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim());
}
