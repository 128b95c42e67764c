/** Builds the simulator around an engine that a mutant can break, and runs it. */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { compile } from '../../test/build.js';
import { exposeBuild } from '../../test/mutants/exposed-lib.js';
import type { Mutant } from '../../test/mutants/mutant.js';
import type { Verdict } from './verdict.js';

const run = promisify(execFile);
/** Belongs to this process: another run can't take it away. */
const build = fileURLToPath(
  new URL(`../../.build/mutants-${process.pid}`, import.meta.url),
);

/** Compiles what serves for all mutants. */
export async function buildSimulator(): Promise<void> {
  await removeSimulator();
  await compile('verification/mutants/tsconfig.json', build, '--noCheck');
  await exposeBuild(join(build, 'lib'));
}

export async function removeSimulator(): Promise<void> {
  await rm(build, { recursive: true, force: true });
}

/** Simulates seeds until one fails. */
export async function runSimulator(
  { name }: Mutant,
  seeds: number,
  signal: AbortSignal,
): Promise<Verdict> {
  const script = join(build, 'verification/mutants/simulate-mutant.js');
  const { stdout } = await run(
    process.execPath,
    [script, name, String(seeds)],
    { signal },
  );
  const verdict: Verdict = JSON.parse(stdout);
  return verdict;
}
