/** Sample 03, run as a user would: no fire is run twice or missed, where without claims some are run twice. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PackageCopy } from '../../test/package/package-copy.js';
import { Program } from '../../test/package/program.js';
import { findTable } from '../../test/docs/pages.js';

/** For three applications that start, run and end, on a busy machine. */
const TIMEOUT = 120_000;

let built: PackageCopy;
beforeAll(async () => {
  built = await PackageCopy.make('sample');
}, TIMEOUT);
afterAll(() => built?.[Symbol.asyncDispose]());

function sample(...args: string[]): Program {
  const command = ['run', '--silent', 'sample:once-per-fire', '--', ...args];
  return new Program('npm', command, { cwd: built.folder });
}

describe('sample 03', { timeout: TIMEOUT }, () => {
  it('ends well, by its command', async () => {
    await using program = sample('--fires', '6');
    const output = await program.succeeds();
    expect(output).toMatch(/^ +runs +6 +\d+$/m);
    expect(output).toMatch(/^ +doubles +0 +[1-9]\d*$/m);
    expect(output).toMatch(/^ +missed +0 +0$/m);
    expect(output).toMatch(/^OK: /m);

    const labels = [...output.matchAll(/^ +(\w+) +\d+ +\d+$/gm)].map(
      ([, label]) => label,
    );
    const rows = findTable('## Once per fire');
    expect(rows.map(([label]) => label)).toEqual(labels);
  });

  it('has figures in docs/scheduled-jobs.md that go together', () => {
    const [runs = [], doubles = [], missed = []] = findTable(
      '## Once per fire',
    ).map(([, ...figures]) => figures.map(Number));
    const fires = runs.map((each, i) => each - doubles[i]! + missed[i]!);
    expect(fires).toEqual([60, 60]);
  });

  it('refuses what it can not do', async () => {
    await using program = sample('--fires', '1');
    const { code, output } = await program.end();
    expect(output).toMatch(/^--fires must be a whole number from 3 to 3600/m);
    expect(code).toBe(2);
  });
});
