/** Builds the simulator around an engine that a mutant can break, and runs it. */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { compile } from '../../test/build.js';
import { exposeBuild } from '../../test/mutants/exposed-lib.js';
import type { Mutant } from '../../test/mutants/mutant.js';
import type { Verdict } from './run-mutant.js';

const run = promisify(execFile);
/** Belongs to this process: another run can't take it away. */
const build = fileURLToPath(
  new URL(`../../.build/mutants-${process.pid}`, import.meta.url),
);

/** Milliseconds for all seeds of one mutant. */
const LONGEST_RUN = 120_000;

/** Compiles what serves for all mutants. */
export async function buildForMutants(): Promise<void> {
  await removeBuildForMutants();
  await compile('verification/simulation/tsconfig.json', build, '--noCheck');
  await exposeBuild(join(build, 'lib'));
}

export async function removeBuildForMutants(): Promise<void> {
  await rm(build, { recursive: true, force: true });
}

/** Simulates seeds until one fails. */
export async function runSimulator(
  { name }: Mutant,
  seeds: number,
): Promise<Verdict> {
  const { stdout } = await run(
    process.execPath,
    [join(build, 'verification/simulation/run-mutant.js'), name, String(seeds)],
    { timeout: LONGEST_RUN, maxBuffer: 64 * 1024 * 1024 },
  );
  const verdict: Verdict = JSON.parse(stdout);
  return verdict;
}
