/** What `npm pack` puts in: all that the exports promise, built from the sources of now, and nothing else; and that it works where it is installed. */
import { readdir, readFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import {
  expectExampleRan,
  installIn,
  NEST_12,
  NEST_12_OPTIONS,
} from './fresh-applications.js';
import { PackageCopy, TIMEOUT, type Packed } from './package-copy.js';

/** Far more than there is; somebody packs what should not be. */
const LARGEST = 2_000_000;

/** Subpaths for those who have installed an optional peer. */
const OPTIONAL_SUBPATHS = /^dist\/(health|telemetry)\//;

let copy: PackageCopy;
let packed: Packed;
let paths: string[];
beforeAll(async () => {
  copy = await PackageCopy.make('sample', 'test');
  packed = await copy.pack();
  paths = packed.files.map(({ path }) => path);
}, TIMEOUT);
afterAll(() => copy?.[Symbol.asyncDispose]());

const kilobytes = (bytes: number): string => `${(bytes / 1_000).toFixed(1)} kB`;
const read = (path: string): Promise<string> =>
  readFile(join(copy.folder, path), 'utf8');

/** What compiled code imports, or requires; its comments have examples that import too. */
const importsOf = (source: string): string[] =>
  [
    ...source
      .replaceAll(/\/\*[\s\S]*?\*\//g, '')
      .matchAll(
        /(?:\bfrom |\bimport |\b(?:import|require)\()['"]([^'"\n]+)['"]/g,
      ),
  ].map(([, specifier = '']) => specifier);

describe('the packed package', () => {
  it('has the code and types of each source, the manifests, the page, the license, and nothing else', async () => {
    const sources = await readdir(join(copy.folder, 'lib'), {
      recursive: true,
    });
    const built = sources
      .filter((path) => path.endsWith('.ts'))
      .flatMap((path) =>
        ['js', 'd.ts'].map((end) => `dist/${path.replace(/ts$/, end)}`),
      );
    const forImport = [
      '',
      'dashboard/',
      'health/',
      'leader/',
      'telemetry/',
      'testing/',
    ].flatMap((folder) =>
      ['mjs', 'd.mts'].map((end) => `dist/${folder}index.${end}`),
    );
    const manifests = [
      'grafana/k8s-lock.json',
      ...[
        'base/any-lock.yaml',
        'base/deployment.yaml',
        'base/flow-schema.yaml',
        'base/kustomization.yaml',
        'base/namespace.yaml',
        'base/network-policy.yaml',
        'base/pod-disruption-budget.yaml',
        'cluster-scoped/kustomization.yaml',
        'cluster-scoped/transformers.yaml',
        'overlays/development/kustomization.yaml',
        'overlays/production/kustomization.yaml',
      ].map((name) => `kustomize/${name}`),
      'named-locks.yaml',
      'one-lock.yaml',
      'prometheus/k8s-lock.rules.yaml',
      'sessions.yaml',
    ].map((name) => `deploy/${name}`);
    // Screenshots are for those who read the repository.
    const pages = (await readdir(join(copy.folder, 'docs')))
      .filter((name) => !name.endsWith('.png'))
      .map((name) => `docs/${name}`);
    expect(paths.toSorted()).toEqual(
      [
        'CHANGELOG.md',
        'LICENSE',
        'README.md',
        'SECURITY.md',
        ...pages,
        'package.json',
        'dist/package.json',
        ...manifests,
        ...built,
        ...forImport,
      ].toSorted(),
    );
  });

  it('has all that package.json points to', () => {
    const { exports, main, types } = manifest;
    const targets = [
      ...JSON.stringify({ exports, main, types }).matchAll(/:"\.\/([^"]+)"/g),
    ].map(([, path = '']) => path);
    expect(targets.length).toBeGreaterThan(4);
    expect(targets.filter((target) => !paths.includes(target))).toEqual([]);
  });

  it('imports nothing that its user need not have', async () => {
    const optional = [
      ...JSON.stringify(manifest).matchAll(/"([^"]+)":\{"optional":true\}/g),
    ].map(([, name = '']) => name);
    const required = Object.keys(manifest.peerDependencies).filter(
      (name) => !optional.includes(name),
    );
    const code = paths.filter((path) => /\.(js|d\.ts)$/.test(path));
    const foreign = await Promise.all(
      code.map(async (path) => {
        const allowed = OPTIONAL_SUBPATHS.test(path)
          ? [...required, ...optional]
          : required;
        return importsOf(await read(path))
          .filter(
            (specifier) =>
              !/^\.\.?\//.test(specifier) &&
              !isBuiltin(specifier) &&
              !allowed.some(
                (name) =>
                  specifier === name || specifier.startsWith(`${name}/`),
              ),
          )
          .map((specifier) => `${path} imports ${specifier}`);
      }),
    );
    expect(foreign.flat()).toEqual([]);
  });

  it('declares nothing that is internal', async () => {
    const declarations = paths.filter((path) => path.endsWith('.d.ts'));
    expect(declarations.length).toBeGreaterThan(10);
    const texts = await Promise.all(declarations.map(read));
    expect(
      declarations.filter((_, index) => texts[index]!.includes('@internal')),
    ).toEqual([]);
  });

  it('needs no build, no script and no dependency of its own to be installed', () => {
    expect(Object.keys(manifest.scripts)).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(pre|post)?install$/)]),
    );
    expect(manifest).not.toHaveProperty('dependencies');
  });

  it('is small', () => {
    console.log(
      `npm pack: ${kilobytes(packed.size)}, unpacked ${kilobytes(packed.unpackedSize)} in ${packed.files.length} files`,
    );
    expect(packed.unpackedSize).toBeLessThan(LARGEST);
  });
});

describe('a fresh application of `nest new`', { timeout: TIMEOUT }, () => {
  it('installs and compiles it, and runs the first example, with Nest 12 as an ES module', async () => {
    await using app = await installIn(packed, NEST_12, {
      '@kubernetes/client-node': '^1.4.0',
    });
    expect(await app.compile(NEST_12_OPTIONS)).toEqual([]);
    expectExampleRan(await app.start());
  });
});
