/** The layout of lib/, as rules that return what breaks them. */
import { readdir, readFile } from 'node:fs/promises';
import { builtinModules } from 'node:module';
import { join, posix } from 'node:path';
import { readImports, type Import } from './imports.js';

/** The text of each file of lib/, by its path there: `lock/record.ts`. */
export type Sources = ReadonlyMap<string, string>;

/** What the rules want to know of package.json. */
export interface Manifest {
  readonly exports: Readonly<Record<string, unknown>>;
  readonly bin: string;
  readonly peerDependencies: Readonly<Record<string, string>>;
}

interface File {
  readonly path: string;
  readonly source: string;
  readonly imports: readonly Import[];
  /** What it imports from lib/. */
  readonly dependencies: readonly string[];
}

type Rule = (file: File, manifest: Manifest) => string[];

/** A file may import from its own layer and from those above it in this list. */
const LAYERS: readonly { name: string; files: RegExp }[] = [
  {
    name: 'options, errors, events',
    files: /^(k8s-lock\.options|lock\.errors|lock\.events|repeated-lines)\.ts$/,
  },
  { name: 'kube', files: /^kube\// },
  { name: 'clock', files: /^lock\/(clock|abort-signals|lease-name)\.ts$/ },
  { name: 'record', files: /^lock\/record\// },
  { name: 'context', files: /^lock\/engine-context\.ts$/ },
  { name: 'lease', files: /^lock\/lease\// },
  { name: 'hold', files: /^lock\/hold\// },
  { name: 'acquire', files: /^lock\/acquire\// },
  { name: 'engine', files: /^lock\/lock-engine\.ts$/ },
  { name: 'lock.service', files: /^lock\.service\.ts$/ },
  { name: 'schedule, http', files: /^(schedule|http)\// },
  { name: 'decorators', files: /^decorators\// },
  {
    name: 'module',
    files:
      /^(k8s-lock\.(module|module-definition|lifecycle)|shutdown\.module|lock-log|global-modules)\.ts$/,
  },
  { name: 'index', files: /^index\.ts$/ },
];

/** Each is an entry of its own: it may import from all layers but the index, and no layer from it. */
const SUBPATHS = /^(testing|health|telemetry|cli)\//;

const NETWORK = /^node:(http|https|http2|net|tls|dgram)$/;
const CATCH_ALL_FOLDER = /(^|\/)(utils?|helpers?|common|shared)\//;

/** Reads all TypeScript files below a folder. */
export async function readSources(folder: string): Promise<Sources> {
  const paths = await readdir(folder, { recursive: true });
  return new Map(
    await Promise.all(
      paths
        .filter((path) => path.endsWith('.ts'))
        .map(async (path): Promise<[string, string]> => [
          path.replaceAll('\\', '/'),
          await readFile(join(folder, path), 'utf8'),
        ]),
    ),
  );
}

/** One sentence for each thing in the sources that breaks a rule. */
export function findLayoutFaults(
  sources: Sources,
  manifest: Manifest,
): string[] {
  const files = [...sources].map(([path, source]) => parse(path, source));
  return [
    ...files.flatMap((file) => RULES.flatMap((rule) => rule(file, manifest))),
    ...findCycles(files),
    ...findUnreached(files, manifest),
  ];
}

const RULES: readonly Rule[] = [
  /** Imports go one way through the layers. */
  ({ path, dependencies }) => {
    const own = layerOf(path);
    if (own === -1 && !SUBPATHS.test(path)) {
      return [`${path} belongs to no layer`];
    }
    return dependencies
      .filter((dependency) => !mayImport(path, dependency))
      .map((dependency) => `${path} must not import ${dependency}`);
  },

  /** Only kube/ speaks HTTP, and the server in testing/. */
  ({ path, imports }) =>
    /^(kube|testing)\//.test(path)
      ? []
      : imports
          .filter(
            ({ specifier, kind }) => NETWORK.test(specifier) && kind !== 'type',
          )
          .map(({ specifier }) => `${path} must not use ${specifier}`),

  /** The engine knows no framework. lock.errors.ts is its bridge to Nest's HttpException. */
  ({ path, imports }) =>
    path.startsWith('lock/')
      ? imports
          .filter(({ specifier }) => !/^(\.|node:)/.test(specifier))
          .map(({ specifier }) => `${path} must not import ${specifier}`)
      : [],

  /** What is imported is installed: a peer dependency, or part of Node. */
  ({ path, imports }, { peerDependencies }) =>
    imports
      .map(({ specifier }) => specifier)
      .filter(
        (specifier) =>
          !specifier.startsWith('.') &&
          !isBuiltin(specifier) &&
          !Object.hasOwn(peerDependencies, packageOf(specifier)),
      )
      .map((specifier) => `${path} imports ${specifier}, which is no peer`),

  /** client-node takes long to load, so it is loaded by the first call that needs it. */
  ({ path, imports }) =>
    imports.some(
      ({ specifier, kind }) =>
        packageOf(specifier) === '@kubernetes/client-node' && kind === 'static',
    )
      ? [`${path} must load @kubernetes/client-node lazily`]
      : [],

  /** No barrels but the entries. */
  ({ path, source }, manifest) => {
    if (entriesOf(manifest).includes(path)) {
      return [];
    }
    const code = source
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .replace(/export [^;]*? from '[^']*';/g, '');
    return posix.basename(path) === 'index.ts' || code.trim() === ''
      ? [`${path} is a barrel, and no entry of package.json`]
      : [];
  },

  ({ path }) =>
    CATCH_ALL_FOLDER.test(path)
      ? [`${path} is in a folder whose name says nothing`]
      : [],

  ({ path, source }) =>
    /^(#!.*\n)?\/\*\*(?! *\*\/)/.test(source)
      ? []
      : [`${path} does not open with a sentence on what it is responsible for`],
];

function parse(path: string, source: string): File {
  const imports = readImports(source);
  const dependencies = imports
    .filter(({ specifier }) => specifier.startsWith('.'))
    .map(({ specifier }) =>
      posix.join(posix.dirname(path), specifier).replace(/\.js$/, '.ts'),
    );
  return { path, source, imports, dependencies };
}

function layerOf(path: string): number {
  return LAYERS.findIndex(({ files }) => files.test(path));
}

function mayImport(path: string, dependency: string): boolean {
  const subpath = SUBPATHS.exec(path)?.[0];
  const layer = layerOf(dependency);
  return subpath === undefined
    ? layer !== -1 && layer <= layerOf(path)
    : dependency.startsWith(subpath) ||
        (subpath === 'cli/' && dependency.startsWith('testing/')) ||
        (layer !== -1 && dependency !== 'index.ts');
}

/** A scoped package has two parts in its name. */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function isBuiltin(specifier: string): boolean {
  return (
    specifier.startsWith('node:') && builtinModules.includes(specifier.slice(5))
  );
}

/** The sources behind the targets in `exports`, and behind the command. */
function entriesOf({ exports, bin }: Manifest): string[] {
  return [
    ...JSON.stringify({ exports, bin }).matchAll(/"\.\/dist\/([^"]+)\.js"/g),
  ].map(([, path]) => `${path}.ts`);
}

/** Types count: a cycle of them is as hard to read. */
function findCycles(files: readonly File[]): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) {
      const cycle = [...trail.slice(trail.indexOf(path)), path];
      cycles.push(`${cycle.join(' -> ')} is a cycle`);
    } else if (!done.has(path)) {
      for (const dependency of byPath.get(path)?.dependencies ?? []) {
        visit(dependency, [...trail, path]);
      }
      done.add(path);
    }
  };
  for (const { path } of files) {
    visit(path, []);
  }
  return cycles;
}

/** What no entry leads to is dead. */
function findUnreached(files: readonly File[], manifest: Manifest): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const reached = new Set<string>();
  const visit = (path: string): void => {
    if (!reached.has(path)) {
      reached.add(path);
      byPath.get(path)?.dependencies.forEach(visit);
    }
  };
  entriesOf(manifest).forEach(visit);
  return [
    ...files
      .filter(({ path }) => !reached.has(path))
      .map(({ path }) => `${path} is used by nobody`),
    ...[...reached]
      .filter((path) => !byPath.has(path))
      .map((path) => `${path} is imported and does not exist`),
  ];
}
