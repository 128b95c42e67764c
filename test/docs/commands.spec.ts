/** The programs of `npm run verify` and `npm run bench` say what they take, and refuse all else without a stack. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, ...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['verification/run.mjs', program, ...args],
      { cwd: root },
      (error, stdout, stderr) =>
        resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

const BENCH = 'bench/main.ts';
const VERIFY = 'verification/verify.ts';
const SIMULATE = 'verification/simulation/simulate.ts';

it('print their usage', async () => {
  expect(await run(SIMULATE, '--help')).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^Usage: npm run verify -- simulation /),
    stderr: '',
  });
});

const notWhole = (option: string, text: string, least: number): string =>
  `--${option} is "${text}", but must be a whole number of ${least} or more.`;

it.each([
  [BENCH, ['--fast'], "Unknown option '--fast'"],
  [VERIFY, ['nothing'], 'There is no suite nothing'],
  [VERIFY, ['--seeds', 'abc'], 'Name the one suite that --seeds abc is for.'],
  [SIMULATE, ['--seeds', 'abc'], notWhole('seeds', 'abc', 1)],
])('%s %j is refused', async (program, args, message) => {
  const { code, stdout, stderr } = await run(program, ...args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr.startsWith(message)).toBe(true);
  expect(stderr).toMatch(/\n\nUsage: npm run (?:bench|verify) -- /);
  expect(stderr).not.toMatch(/^ +at /m);
});
