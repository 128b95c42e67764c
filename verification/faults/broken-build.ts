/** Breaks a rule in a build of the package, to see that it is found. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { compileSources, mutate } from '../simulation/mutation.js';
import { MUTANTS } from '../simulation/mutants.js';

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
  await compileSources(sources, join(build, 'dist'));
  await rm(sources, { recursive: true });
  return `${mutant.name} (${mutant.rule})`;
}
