/** docs/errors.md and docs/cli.md quote every message there is, in the words of the source, and no other. */
import { expect, it } from 'vitest';
import { findTexts } from './messages.js';
import { findCode, findTables, pages } from './pages.js';

const prose = pages
  .filter(({ path }) => path === 'docs/errors.md' || path === 'docs/cli.md')
  .map((page) =>
    page.path === 'docs/cli.md'
      ? page.prose.slice(page.prose.indexOf('\n## Messages\n'))
      : page.prose,
  )
  .join('\n');
const quotes = findCode(unify(prose));
/** A message begins an item of a list. */
const messages = prose
  .split('\n')
  .filter((line) => line.startsWith('- `'))
  .flatMap(findCode);
const texts = findTexts();

it('has every text of at least four words', () => {
  const missing = texts.filter(
    ({ text }) =>
      isSentence(text) && !quotes.some((quote) => quote.includes(unify(text))),
  );
  expect(missing).toEqual([]);
});

it('has no message that is not in the source', () => {
  const options = findTables('## Options').flatMap((table) =>
    table.flatMap(([name = '']) => findCode(name)),
  );
  const parts = new Set(
    texts
      .flatMap(({ text }) => text.split('…').map(unify))
      .filter((text) => /\w/.test(text))
      .concat(options),
  );
  expect(messages.filter((message) => !isMadeOf(message, parts))).toEqual([]);
});

it('has each message once', () => {
  const items = prose.split('\n').filter((line) => line.startsWith('- '));
  expect(items.filter((item, index) => items.indexOf(item) !== index)).toEqual(
    [],
  );
});

function isSentence(text: string): boolean {
  return text.split(/\s+/).filter((word) => /[a-z]/i.test(word)).length >= 4;
}

/** As a page quotes it. */
function unify(text: string): string {
  return text.trim().replaceAll(/\s+/g, ' ');
}

/** Whether the words of a message are those of parts of the source, one after the other; `…` stands for anything. */
function isMadeOf(message: string, parts: ReadonlySet<string>): boolean {
  return message.split('…').every((fixed) => isCovered(fixed, parts));
}

function isCovered(fixed: string, parts: ReadonlySet<string>): boolean {
  const reached = new Set([0]);
  for (let at = 0; at < fixed.length; at++) {
    if (!reached.has(at)) {
      continue;
    }
    if (!/[A-Za-z]/.test(fixed[at]!)) {
      reached.add(at + 1); // punctuation and numbers stand between parts
    }
    for (const part of parts) {
      if (fixed.startsWith(part, at)) {
        reached.add(at + part.length);
      }
    }
  }
  return reached.has(fixed.length);
}
