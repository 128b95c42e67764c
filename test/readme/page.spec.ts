/** What the other tests of README.md rely on: its links lead somewhere, its commands exist, and no block goes unchecked. */
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { createFree } from '../../lib/lock/record/lease-record.js';
import { findAnchors, findBlock, findBlocks, findTargets } from './readme.js';

const root = new URL('../../', import.meta.url);
const read = (path: string) => readFile(new URL(path, root), 'utf8');
const manifest = JSON.parse(await read('package.json'));
const { scripts, peerDependencies, peerDependenciesMeta = {} } = manifest;
const packages = { [manifest.name]: '', ...manifest.devDependencies };

/** Where a block in this language is checked. */
const CHECKED_IN: Record<string, string> = {
  ts: 'snippets.spec.ts and types.spec.ts',
  json: 'the test of the example `decorator`',
  yaml: 'rights.spec.ts',
  sh: 'here',
};

it('has no block without a name, in a language that nobody checks, or of a name that is taken', () => {
  const blocks = findBlocks();
  expect(
    blocks.filter(({ language, id }) => !CHECKED_IN[language] || id === ''),
  ).toEqual([]);
  expect(new Set(blocks.map(({ id }) => id)).size).toBe(blocks.length);
  expect(findBlocks('json').map(({ id }) => id)).toEqual(['answer']);
});

it('has no block that is not found, since it is indented or fenced otherwise', async () => {
  const fences = (await read('README.md')).match(/^\s*(?:```|~~~)/gm);
  expect(fences).toHaveLength(2 * findBlocks().length);
});

it('has no link that leads nowhere', () => {
  const targets = findTargets();
  expect(findAnchors().filter((anchor) => !targets.includes(anchor))).toEqual(
    [],
  );
});

const commands = findBlocks('sh').flatMap(({ code }) =>
  code
    .trim()
    .split('\n')
    .map((line) => line.replace(/ *#.*/, '')),
);

it.each(commands)('the command works: %s', async (command) => {
  expect(await findFault(command)).toBeUndefined();
});

it('installs what the first example and the peers of the package need', () => {
  const installed = commands
    .filter((command) => command.startsWith('npm install '))
    .flatMap((command) => command.split(' ').slice(2));
  const imported = [
    ...findBlock('quick-start').code.matchAll(/ from '(.+)'/g),
  ].map(([, specifier = '']) => specifier);
  const ofNest = ['@nestjs/common', '@nestjs/core', 'reflect-metadata', 'rxjs'];
  const required = Object.keys(peerDependencies).filter(
    (each) => !peerDependenciesMeta[each]?.optional,
  );
  const needed = [...imported, ...required].filter(
    (each) => !ofNest.includes(each),
  );
  expect(installed.toSorted()).toEqual([...new Set(needed)].toSorted());
});

it('names the version of Go that builds the API server', async () => {
  const goMod = await read('test/kube-apiserver/go.mod');
  const [, version] = /^go (\d+\.\d+)/m.exec(goMod)!;
  expect(await read('README.md')).toContain(`Go ${version} or newer`);
});

async function findFault(command: string): Promise<string | undefined> {
  const [, variable, action = '', rest = ''] =
    /^(?:(\w+)=\S+ )?(\S+ \S+)(?: (.*))?$/.exec(command) ?? [];
  if (variable !== undefined) {
    const source = await read('test/kube-apiserver/kube-apiserver.ts');
    if (!source.includes(`process.env.${variable}`)) {
      return `nobody reads ${variable}`;
    }
  }
  switch (action) {
    case 'npm ci':
      return undefined;
    case 'npm install': {
      const unknown = rest.split(' ').filter((each) => !(each in packages));
      return unknown.length === 0 ? undefined : `nobody needs ${unknown[0]}`;
    }
    case 'npm run':
      return findScriptFault(rest.split(' -- ')[0]!);
    case 'npm start':
    case 'npm test':
      return findScriptFault(action.slice('npm '.length));
    case 'kubectl get': {
      const [, namespace = '', label = '', value] =
        /^leases --namespace (\S+) --selector (\S+)=(\S+)$/.exec(rest) ?? [];
      const { metadata } = createFree({ namespace, name: 'import' });
      return metadata.labels?.[label] === value
        ? undefined
        : 'Leases do not have this label';
    }
    default:
      return 'nobody knows this command';
  }
}

function findScriptFault(name: string): string | undefined {
  return name in scripts ? undefined : `package.json has no script "${name}"`;
}
