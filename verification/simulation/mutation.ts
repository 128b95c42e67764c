/** Builds mutated copies of the engine with the simulator around them, and runs them. */
import { execFile } from 'node:child_process';
import { copyFile, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { compile } from '../../test/build.js';
import type { Finding } from './findings.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
/** Belongs to this process: another run can't take it away. */
const builds = join(root, '.build', `mutants-${process.pid}`);

export interface Mutant {
  /** What it does wrong. */
  readonly name: string;
  /** The rule that it breaks. */
  readonly rule: string;
  /** Relative to `lib/`. */
  readonly file: string;
  /** Each text must stand in the file exactly once. */
  readonly replacements: readonly (readonly [text: string, by: string])[];
}

/** What a run of the simulator came to. */
export interface Verdict {
  readonly seeds: number;
  readonly failed?: {
    readonly seed: number;
    readonly findings: readonly Finding[];
  };
}

/** Milliseconds for all seeds of one mutant. */
const LONGEST_RUN = 120_000;

/**
 * Compiles the simulator with each mutant in the place of the engine.
 *
 * @returns the folder of each build, by mutant
 */
export async function buildMutants(
  mutants: readonly Mutant[],
): Promise<Map<Mutant, string>> {
  await removeMutants();
  const sources = join(builds, 'sources');
  const programs = join(builds, 'programs');
  const original = join(programs, 'original');
  const folders = new Map<Mutant, string>();
  for (const [index, mutant] of mutants.entries()) {
    const path = join('mutants', String(index));
    folders.set(mutant, join(programs, path));
    const file = join(sources, path, 'lib', mutant.file);
    // oxlint-disable no-await-in-loop -- a few small files
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, await mutate(mutant));
    // oxlint-enable no-await-in-loop
  }
  await compile('verification/simulation/tsconfig.json', original, '--noCheck');
  await Promise.all(
    Array.from(folders.values(), (folder) =>
      cp(original, folder, { recursive: true }),
    ),
  );
  await compileSources(sources, programs);
  return folders;
}

/** Compiles a folder of files that may be a part of a program only, each for itself. */
export async function compileSources(
  sources: string,
  outDir: string,
): Promise<void> {
  await writeFile(
    join(sources, 'tsconfig.json'),
    JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        noCheck: true,
        noResolve: true,
        declaration: false,
        rootDir: sources,
      },
      include: ['.'],
    }),
  );
  // So that they are compiled to the same kind of modules.
  await copyFile(join(root, 'lib/package.json'), join(sources, 'package.json'));
  await compile(sources, outDir);
}

export async function removeMutants(): Promise<void> {
  await rm(builds, { recursive: true, force: true });
}

/** Simulates seeds until one fails. */
export async function runSimulator(
  folder: string,
  seeds: number,
): Promise<Verdict> {
  const script = join(folder, 'verification/simulation/simulate.js');
  const { stdout } = await run(
    process.execPath,
    [script, '--json', '--workers=0', `--seeds=${seeds}`],
    { timeout: LONGEST_RUN, maxBuffer: 64 * 1024 * 1024 },
  ).catch((error: unknown) => {
    // A failed seed makes it exit with 1, and what it has to say is on its stdout all the same.
    if (
      error instanceof Error &&
      'code' in error &&
      error.code === 1 &&
      'stdout' in error
    ) {
      return { stdout: String(error.stdout) };
    }
    throw error;
  });
  const verdict: Verdict = JSON.parse(stdout);
  return verdict;
}

export async function mutate({
  name,
  file,
  replacements,
}: Mutant): Promise<string> {
  let source = await readFile(join(root, 'lib', file), 'utf8');
  for (const [text, by] of replacements) {
    const found = source.split(text).length - 1;
    if (found !== 1) {
      throw new Error(
        `The mutant "${name}" is out of date: lib/${file} has ${found} times, and not once:\n${text}`,
      );
    }
    source = source.replace(text, () => by);
  }
  return source;
}
