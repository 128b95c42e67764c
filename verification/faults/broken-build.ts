/** Breaks a rule in a build of the package, to see that it is found. */
import { readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exposeBuild } from '../../test/mutants/exposed-lib.js';
import { findMutant } from '../../test/mutants/mutant.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * @param build of `buildForProcesses`
 * @param part of the name of a mutant that no other name has
 * @returns the mutant's whole name
 */
export async function breakBuild(build: string, part: string): Promise<string> {
  const { name, rule, file } = await findMutant(part);
  await exposeBuild(join(build, 'dist'));
  const compiled = relative(root, file).replace(/\.ts$/, '.js');
  await writeFile(
    join(build, 'dist/broken.js'),
    `"use strict";
exports.mutation = new (require("../test/mutants/mutation.js").Mutation)(
  require("../${compiled}").mutants.find(({ name }) => name === ${JSON.stringify(name)}),
);
`,
  );
  // A worker loads the locks first, and the election last.
  await rewrite(
    join(build, 'dist/index.js'),
    (source) => `"use strict";\nrequire("./broken.js");\n${source}`,
  );
  await rewrite(
    join(build, 'dist/leader/index.js'),
    (source) =>
      `${source}\nrequire("../broken.js").mutation.assertApplied();\n`,
  );
  return `${name} (${rule})`;
}

async function rewrite(
  file: string,
  change: (source: string) => string,
): Promise<void> {
  await writeFile(file, change(await readFile(file, 'utf8')));
}
