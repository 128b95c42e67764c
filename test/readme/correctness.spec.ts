/** The pages beside the README: the table of rules names every mutant there is, and every link leads somewhere. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { MUTANTS } from '../simulation/mutants.js';
import { findTargets } from './readme.js';

const root = new URL('../../', import.meta.url);

const byName = (one: { mutant: string }, other: { mutant: string }): number =>
  one.mutant < other.mutant ? -1 : 1;

describe('docs/correctness.md', async () => {
  const text = await readFile(new URL('docs/correctness.md', root), 'utf8');
  const rules = text
    .split('\n')
    .filter((line) => line.startsWith('|') && line.includes('.spec.ts'))
    .map((line) => line.split('|').map((cell) => cell.trim()));

  it('names each mutant once, with its rule', () => {
    const named = rules.flatMap(([, rule = '', , mutants = '']) =>
      mutants
        .split('; ')
        .filter(Boolean)
        .map((mutant) => ({ mutant, rule: /^R\d+/.exec(rule)?.[0] })),
    );
    const existing = MUTANTS.map(({ name, rule }) => ({
      mutant: name,
      rule: /^R\d+$/.exec(rule)?.[0],
    }));
    expect(named.toSorted(byName)).toEqual(existing.toSorted(byName));
  });

  it('has the ten rules', () => {
    const numbers = rules.flatMap(([, rule = '']) => /^R\d+/.exec(rule) ?? []);
    expect(numbers).toEqual(Array.from({ length: 10 }, (_, n) => `R${n + 1}`));
  });

  it('names commands that there are', async () => {
    const { scripts } = JSON.parse(
      await readFile(new URL('package.json', root), 'utf8'),
    );
    const commands = [...text.matchAll(/^npm run (\S+)/gm)].map(
      ([, name = '']) => name,
    );
    expect(commands).toHaveLength(4);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(commands));
  });
});

it.each(['docs/correctness.md', 'docs/questions.md', 'SECURITY.md'])(
  '%s has no link that leads nowhere',
  async (path) => {
    const page = new URL(path, root);
    const text = await readFile(page, 'utf8');
    const links = [...text.matchAll(/\]\(([^)#]+)(?:#([^)]+))?\)/g)];
    expect(links).not.toEqual([]);
    const broken = links.filter(
      ([, file = '', anchor]) =>
        !existsSync(new URL(file, page)) ||
        (anchor !== undefined && !findTargets().includes(anchor)),
    );
    expect(broken.map(([link]) => link)).toEqual([]);
  },
);
