/** Runs the spec beside a mutant on a lib that the mutant has broken. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FoundMutant } from '../../test/mutants/mutant.js';
import type { Verdict } from './verdict.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const vitest = join(
  dirname(createRequire(import.meta.url).resolve('vitest/package.json')),
  'vitest.mjs',
);

/** As much of what Vitest reports as is used. */
interface Report {
  readonly testResults: readonly {
    /** Why the spec was not run, or not to its end. */
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
    }[];
  }[];
}

/** Runs the spec until a test fails. */
export async function runSpec(
  { name, file }: FoundMutant,
  signal: AbortSignal,
): Promise<Verdict> {
  const folder = await mkdtemp(join(tmpdir(), 'mutant-'));
  const [report, entered] = [join(folder, 'report'), join(folder, 'entered')];
  try {
    const running = spawn(
      process.execPath,
      [
        vitest,
        'run',
        '--config=verification/mutants/vitest.config.mts',
        '--bail=1',
        '--reporter=json',
        `--outputFile=${report}`,
        file.replace('.mutants.', '.spec.'),
      ],
      {
        cwd: root,
        signal,
        env: { ...process.env, MUTANT: name, MUTANT_ENTERED: entered },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    let errors = '';
    running.stderr.setEncoding('utf8').on('data', (text) => (errors += text));
    await once(running, 'close');
    const { testResults }: Report = JSON.parse(
      await readFile(report, 'utf8').catch(() => {
        throw new Error(`the spec was not run:\n${errors}`);
      }),
    );
    const [spec] = testResults;
    const failed = spec?.assertionResults.find(
      ({ status }) => status === 'failed',
    );
    if (!failed && spec?.message) {
      throw new Error(spec.message);
    }
    return {
      entered: Number(await readFile(entered, 'utf8')),
      found: failed && { what: failed.fullName },
    };
  } finally {
    await rm(folder, { recursive: true });
  }
}
