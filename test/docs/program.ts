/** Makes programs of the TypeScript blocks of the pages: adds the imports that the page leaves out, and wraps loose statements. */
import { mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findBlocks, type Block } from './pages.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const lib = join(root, 'lib/index.js');
const yourCode = join(root, 'test/docs/your-code.js');

/** Where names come from that a block uses without an import. */
const NAMES: Record<string, readonly string[]> = {
  '@kubernetes/client-node': ['KubeConfig'],
  '@nestjs/common': [
    'Controller',
    'Delete',
    'Get',
    'Injectable',
    'type MessageEvent',
    'Module',
    'Param',
    'Post',
    'Sse',
    'UseInterceptors',
  ],
  '@nestjs/core': ['NestFactory'],
  '@nestjs/schedule': ['Cron'],
  '@nestjs/terminus': ['HealthCheck', 'HealthCheckService', 'TerminusModule'],
  rxjs: ['Observable'],
  './quick-start.js': ['AppModule'],
};

/** What a block imports, and where that is here. */
const SPECIFIERS: Record<string, string> = {
  'nestjs-k8s-lock': lib,
  'nestjs-k8s-lock/health': join(root, 'lib/health/index.js'),
  'nestjs-k8s-lock/leader': join(root, 'lib/leader/index.js'),
  'nestjs-k8s-lock/dashboard': join(root, 'lib/dashboard/index.js'),
  'nestjs-k8s-lock/telemetry': join(root, 'lib/telemetry/index.js'),
  'nestjs-k8s-lock/testing': join(root, 'lib/testing/index.js'),
  './importer.js': './acquire.js',
};

/** The blocks of the pages as modules, in a folder of their own. */
export interface Programs extends AsyncDisposable {
  readonly folder: string;
  /** The path of the module that a block has become. */
  pathOf(id: string): string;
}

/** Writes every TypeScript block as a module, and `others` beside them. */
export async function writePrograms(
  others: readonly Block[] = [],
): Promise<Programs> {
  // By its number: test/build.ts clears away what killed processes leave behind.
  const folder = join(root, '.build', String(process.pid), 'docs');
  const names = {
    ...NAMES,
    [lib]: await readExports(lib),
    [yourCode]: await readExports(yourCode),
  };
  const pathOf = (id: string): string => join(folder, `${id}.ts`);
  await mkdir(folder, { recursive: true });
  await Promise.all(
    [...findBlocks('ts'), ...others].map(async ({ id, code }) => {
      const program = addImports(isModule(code) ? code : wrap(code), names);
      await writeFile(pathOf(id), resolveSpecifiers(program, folder));
    }),
  );
  return {
    folder,
    pathOf,
    [Symbol.asyncDispose]: async () => {
      await rm(folder, { recursive: true });
      // There is more in it when tests run in the process that builds.
      await rmdir(dirname(folder)).catch(() => undefined);
    },
  };
}

/** A module has imports, exports or decorated classes; all else is statements from the middle of a function. */
function isModule(code: string): boolean {
  return /^(?:import|export|@)/m.test(code);
}

/** The function returns what the statements declare, unless they return by themselves. */
function wrap(code: string): string {
  const declared = [...code.matchAll(/^const (\w+) =/gm)].map(
    ([, name]) => name,
  );
  const result = /^ *return /m.test(code)
    ? ''
    : `return { ${declared.join(', ')} };\n`;
  return `export default async function snippet(locks: LockService) {\n${code}${result}}\n`;
}

function addImports(
  code: string,
  names: Record<string, readonly string[]>,
): string {
  const imports = Object.entries(names).map(([specifier, exported]) => {
    const used = exported.filter((name) => isUsed(code, name));
    return used.length === 0
      ? ''
      : `import { ${used.join(', ')} } from '${specifier}';\n`;
  });
  return imports.join('') + code;
}

function isUsed(code: string, exported: string): boolean {
  const name = exported.replace(/^type /, '');
  const isDeclared = new RegExp(
    `\\b(?:class|const|function) ${name}\\b|^import[^;]*\\b${name}\\b`,
    'm',
  );
  return new RegExp(`\\b${name}\\b`).test(code) && !isDeclared.test(code);
}

function resolveSpecifiers(code: string, folder: string): string {
  return code.replace(/(?<=from '|import\(')[^']+(?=')/g, (specifier) => {
    const target = SPECIFIERS[specifier] ?? specifier;
    return target.startsWith(root) ? relative(folder, target) : target;
  });
}

/** What a module exports by name, types with `type` before them. */
async function readExports(path: string): Promise<string[]> {
  const source = await readFile(path.replace(/js$/, 'ts'), 'utf8');
  const declared = [...source.matchAll(/^export (?:async )?(\w+) (\w+)/gm)].map(
    ([, kind, name = '']) =>
      kind === 'interface' || kind === 'type' ? `type ${name}` : name,
  );
  const listed = [...source.matchAll(/^export (type )?\{([^}]*)\}/gm)].flatMap(
    ([, allTypes = '', list = '']) =>
      list
        .split(',')
        .map((name) => name.trim())
        .filter((name) => name !== '')
        .map((name) => allTypes + name),
  );
  return [...declared, ...listed];
}
