/** docs/lease-rules.md leads to the function that enforces each rule, which cites its number, and to the spec that breaks it, beside mutants of that number. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { readMutants } from '../mutants/mutant.js';
import { findTable, root } from './pages.js';

const rulesOf = (heading: string) =>
  findTable(heading).map(
    ([number = '', rule = '', enforced = '', broken = '']) => ({
      number,
      rule,
      enforced,
      broken,
    }),
  );
const ofRecord = rulesOf('## The record');
const around = rulesOf('## Around the record');
const rules = [...ofRecord, ...around];
const mutants = await readMutants();

it('has each rule, numbered without a gap', () => {
  expect(ofRecord).toHaveLength(12);
  for (const [some, letter] of [
    [ofRecord, 'R'],
    [around, 'A'],
  ] as const) {
    expect(some.map(({ number }) => number)).toEqual(
      some.map((_, i) => `${letter}${i + 1}`),
    );
  }
});

it('has the rule of each mutant that names a number', () => {
  const numbers = rules.map(({ number }) => number);
  const unknown = mutants.filter(
    ({ rule }) => /\d/.test(rule) && !numbers.includes(rule),
  );
  expect(unknown.map(({ rule, name }) => `${rule}: ${name}`)).toEqual([]);
});

describe.each(rules)('$number $rule', ({ number, enforced, broken }) => {
  const functions = [
    ...enforced.matchAll(/`(\w+)` in \[[^\]]+\]\(\.\.\/(lib\/[^)]+)\)/g),
  ].map(([, name = '', path = '']) => ({ name, path }));

  it('is enforced by functions that exist, and cite its number', () => {
    expect(functions).not.toEqual([]);
    for (const { name, path } of functions) {
      const comment = findComment(name, path);
      expect({ name, comment }).toEqual({
        name,
        comment: expect.stringMatching(new RegExp(`\\b${number}\\b`)),
      });
    }
  });

  const specs = [...broken.matchAll(/\]\(\.\.\/([^)]+\.spec\.ts)\)/g)].map(
    ([, path = '']) => fileURLToPath(new URL(path, root)),
  );

  it('is broken by specs that exist', () => {
    expect(specs).not.toEqual([]);
    expect(specs.filter((path) => !existsSync(path))).toEqual([]);
  });

  it('is broken by mutants of its number, next to one of the specs', () => {
    const beside = mutants.filter(({ file }) =>
      specs.includes(file.replace('.mutants.', '.spec.')),
    );
    expect(beside.map(({ rule }) => rule)).toContain(number);
  });
});

/** The comment right before a declaration; empty if it has none, undefined if there is no such declaration. */
function findComment(name: string, path: string): string | undefined {
  const source = readFileSync(new URL(path, root), 'utf8');
  const declaration = new RegExp(
    `^[ ]*(?:(?:export|async|private|static|abstract|function|class|get) )*${name}(?=[<({ ]).*\\{$|^[ ]*(?:(?:export|async|private|function) )*${name}[<(][^;=]*$`,
    'm',
  ).exec(source);
  if (declaration === null) {
    return undefined;
  }
  const [, comment = ''] =
    /\/\*\*((?:(?!\*\/)[^])*)\*\/\s*$/.exec(
      source.slice(0, declaration.index),
    ) ?? [];
  return comment;
}
