/** docs/lease-rules.md leads to the function that enforces each rule, which cites its number, and to the spec that breaks it. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
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

it('has each rule, numbered without a gap', () => {
  expect(ofRecord).toHaveLength(12);
  for (const [rules, letter] of [
    [ofRecord, 'R'],
    [around, 'A'],
  ] as const) {
    expect(rules.map(({ number }) => number)).toEqual(
      rules.map((_, i) => `${letter}${i + 1}`),
    );
  }
});

describe.each([...ofRecord, ...around])(
  '$number $rule',
  ({ number, enforced, broken }) => {
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

    it('is broken by specs that exist', () => {
      const specs = [...broken.matchAll(/\]\(\.\.\/([^)]+\.spec\.ts)\)/g)].map(
        ([, path = '']) => path,
      );
      expect(specs).not.toEqual([]);
      expect(specs.filter((path) => !existsSync(new URL(path, root)))).toEqual(
        [],
      );
    });

    it('is broken by mutants, next to one of the specs', () => {
      const mutants = [
        ...broken.matchAll(/\]\(\.\.\/([^)]+)\.spec\.ts\)/g),
      ].map(([, path = '']) => `${path}.mutants.ts`);
      expect(mutants.some((path) => existsSync(new URL(path, root)))).toBe(
        true,
      );
    });
  },
);

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
