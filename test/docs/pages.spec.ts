/** The pages: their links lead somewhere, their scripts exist, and no example goes unchecked. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { findAnchors, findBlocks, pages, root, type Page } from './pages.js';

const { scripts } = JSON.parse(
  readFileSync(new URL('package.json', root), 'utf8'),
);

describe.each(pages)('$path', (page) => {
  it('has no link that leads nowhere', () => {
    const links = [...page.prose.matchAll(/\]\((?!https?:)([^)]+)\)/g)].map(
      ([, target = '']) => target,
    );
    expect(links.filter((target) => !leadsSomewhere(page, target))).toEqual([]);
  });

  it('has no code block that is not found, since it is indented or fenced otherwise', () => {
    expect(page.prose.match(/^\s*(?:```|~~~)/gm)).toBeNull();
  });

  it('names scripts that package.json has', () => {
    const named = [...page.text.matchAll(/\bnpm run ([\w:-]+)/g)].map(
      ([, name = '']) => name,
    );
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });
});

it('every example and manifest has a unique name, by which its test finds it', () => {
  const ids = ['ts', 'yaml'].flatMap((language) =>
    findBlocks(language).map(({ id }) => id),
  );
  expect(ids).not.toContain('');
  expect(new Set(ids).size).toBe(ids.length);
});

function leadsSomewhere(from: Page, target: string): boolean {
  const [path = '', anchor] = target.split('#');
  const url =
    path === ''
      ? new URL(from.path, root)
      : new URL(path, new URL(from.path, root));
  if (!existsSync(url)) {
    return false;
  }
  const page = pages.find(
    ({ path: other }) =>
      fileURLToPath(new URL(other, root)) === fileURLToPath(url),
  );
  return (
    anchor === undefined ||
    (page !== undefined && findAnchors(page).includes(anchor))
  );
}
