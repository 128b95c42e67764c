/** Breaks a rule in a build of the package, to see that it is found. */
import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { mutate } from '../simulation/mutation.js';
import { MUTANTS } from '../simulation/mutants.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * @param build of `buildForProcesses`
 * @param name of a mutant, or a part of it that no other has
 * @returns the mutant's whole name
 */
export async function breakBuild(build: string, name: string): Promise<string> {
  const [mutant, ...others] = MUTANTS.filter((each) =>
    each.name.includes(name),
  );
  if (mutant === undefined || others.length > 0) {
    throw new Error(
      `"${name}" is not a part of one name of:\n${MUTANTS.map((each) => `- ${each.name}`).join('\n')}`,
    );
  }
  const sources = join(build, 'broken');
  const file = join(sources, mutant.file);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, await mutate(mutant));
  await writeFile(
    join(sources, 'tsconfig.json'),
    JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        noCheck: true,
        noResolve: true,
        declaration: false,
        rootDir: sources,
        outDir: join(build, 'dist'),
      },
      include: ['.'],
    }),
  );
  const compiler = join(
    dirname(createRequire(import.meta.url).resolve('typescript/package.json')),
    'bin/tsc',
  );
  await run(process.execPath, [compiler, '-p', sources]);
  await rm(sources, { recursive: true });
  return `${mutant.name} (${mutant.rule})`;
}
