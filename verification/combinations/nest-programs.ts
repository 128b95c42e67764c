/** Builds the programs of this folder for a version of Nest, with the packages that belong to it, and loads them. */
import { copyFile, cp, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { compile } from '../../test/build.js';
import { obtainPackages } from '../../test/package/installed-packages.js';
import { Program } from '../../test/package/program.js';
import { buildFolder } from '../../test/support/build-folder.js';
import type { observe } from './programs/observe.js';
import type { Combinations, Services } from './programs/combination-run.js';

const here = fileURLToPath(new URL('.', import.meta.url));

/** What `./programs/combinations.ts` exports. */
interface Programs {
  readonly combinations: Combinations;
  readonly redisCombinations: Combinations;
  readonly observe: typeof observe;
  askGraphQL(server: Services['server']): Promise<Record<string, unknown>>;
  readonly LeaseApiServer: { start(): Promise<Services['server']> };
}

export interface NestPrograms extends Programs {
  /** Of Nest, as `12.5.1`. */
  readonly version: string;
}

/** Loads the programs of `./programs` for a version: the name of the folder that names its packages. */
export async function loadPrograms(name: string): Promise<NestPrograms> {
  const folder = await compileFor(name, 'programs', name);
  const programs: Programs = await import(
    pathToFileURL(join(folder, 'combinations.js')).href
  );
  const manifest = join(folder, 'node_modules/@nestjs/core/package.json');
  const { version } = JSON.parse(await readFile(manifest, 'utf8'));
  return { ...programs, version };
}

/**
 * Runs the program of `./programs/wrappers`, which is CommonJS like most applications, in a process of its
 * own: what it tries changes the packages that it loads.
 *
 * @returns what it has found, in its words
 */
export async function runWrappers(
  name: string,
): Promise<Record<string, string>> {
  const folder = await compileFor(
    name,
    'programs/wrappers',
    `${name}-wrappers`,
  );
  await using program = new Program(process.execPath, ['wrappers.cjs'], {
    cwd: folder,
  });
  const [[, results = ''] = []] = await program.prints(/^RESULT (.*)$/gm);
  return JSON.parse(results);
}

/**
 * Compiles programs beside the package as it is published, against the types of this version. Both find
 * the packages of the version before any others.
 *
 * @returns the folder
 */
async function compileFor(
  name: string,
  programs: string,
  target: string,
): Promise<string> {
  const modules = join(await obtainPackages(join(here, name)), 'node_modules');
  const build = buildFolder();
  const folder = join(build, target);
  await cp(join(here, programs), folder, { recursive: true });
  await Promise.all([
    symlink(modules, join(folder, 'node_modules')),
    cp(join(build, 'dist'), join(folder, 'dist'), { recursive: true }),
    copyFile(join(build, 'package.json'), join(folder, 'package.json')),
  ]);
  await compile(folder, folder);
  return folder;
}
