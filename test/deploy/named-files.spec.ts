/** The manifests that messages and pages name are where they say. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

async function filesIn(folder: string, ending: string): Promise<string[]> {
  const names = await readdir(join(root, folder), { recursive: true });
  return names
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));
}

it('each file of deploy/ that a message or a page names is there', async () => {
  const files = [
    ...(await filesIn('lib', '.ts')),
    ...(await filesIn('docs', '.md')),
    'README.md',
    'SECURITY.md',
  ];
  const texts = await Promise.all(
    files.map((file) => readFile(join(root, file), 'utf8')),
  );
  const named = texts.flatMap(
    (text) => text.match(/deploy\/[-\w/.]+\.(yaml|json)/g) ?? [],
  );
  expect(named).toContain('deploy/kustomize/base/any-lock.yaml');
  expect(named.filter((name) => !existsSync(join(root, name)))).toEqual([]);
});
