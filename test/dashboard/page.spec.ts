/** The files of the page: they stand the lint, ask for nothing elsewhere, and put no text into the document as HTML. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { afterAll, expect, it } from 'vitest';
import { HTML } from '../../lib/dashboard/page/html.js';
import { ICON } from '../../lib/dashboard/page/icon.js';
import { SCRIPT } from '../../lib/dashboard/page/script.js';
import { STYLE } from '../../lib/dashboard/page/style.js';

const folder = mkdtempSync(join(tmpdir(), 'nestjs-k8s-lock-page-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('the script stands the lint', () => {
  const path = join(folder, 'view.js');
  writeFileSync(path, SCRIPT);
  const config = join(folder, 'lint.json');
  writeFileSync(
    config,
    JSON.stringify({
      env: { browser: true, es2024: true },
      categories: { correctness: 'error', suspicious: 'error' },
      rules: { curly: ['error', 'all'], 'no-undef': 'error' },
    }),
  );
  const lint = join('node_modules', 'oxlint', 'bin', 'oxlint');
  const output = execFileSync(
    process.execPath,
    [lint, '--deny-warnings', '--config', config, path],
    { encoding: 'utf8' },
  );
  expect(output).toMatch(/0 warnings and 0 errors/);
});

it('nothing is put into the document but as text', () => {
  expect(SCRIPT).not.toMatch(
    /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|createContextualFragment|srcdoc|\.href|setHTML/,
  );
});

it('nothing is asked for elsewhere', () => {
  const urls = [HTML, SCRIPT, STYLE, ICON].flatMap((text) => [
    ...text.matchAll(/(?:https?:)?\/\/[\w.-]+\.\w+[^\s"']*|url\(|@import/g),
  ]);
  expect(urls.map(([url]) => url)).toEqual(['http://www.w3.org/2000/svg']);
});

it('every element that the script looks up is in the document', () => {
  const ids = [...SCRIPT.matchAll(/byId\('([\w-]+)'\)/g)].map(([, id]) => id);
  expect(ids.length).toBeGreaterThan(20);
  expect(ids.filter((id) => !HTML.includes(`id="${id}"`))).toEqual([]);
});
