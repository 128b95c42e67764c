/** The programs of `npm run verify` and `npm run bench` say what they take, and refuse all else without a stack. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

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
const FAULTS = 'verification/faults/main.ts';
const INTEROP = 'verification/interop/main.ts';
const SIMULATE = 'verification/simulation/simulate.ts';
const SOAK = 'verification/soak/main.ts';

describe.each([BENCH, VERIFY, FAULTS, INTEROP, SIMULATE, SOAK])(
  '%s',
  (program) => {
    it('prints its usage', async () => {
      expect(await run(program, '--help')).toEqual({
        code: 0,
        stdout: expect.stringMatching(/^Usage: npm run (?:bench|verify) -- /),
        stderr: '',
      });
    });
  },
);

const notWhole = (option: string, text: string, least: number): string =>
  `--${option} is "${text}", but must be a whole number of ${least} or more.`;

it.each([
  [BENCH, ['--fast'], "Unknown option '--fast'"],
  [BENCH, ['--pods', 'many'], '--pods is "many"'],
  [BENCH, ['nothing'], 'There is no benchmark nothing'],
  [VERIFY, ['nothing'], 'There is no suite nothing'],
  [VERIFY, ['--seeds', 'abc'], 'Name the one suite that --seeds abc is for.'],
  [FAULTS, ['--seconds', 'abc'], notWhole('seconds', 'abc', 1)],
  [SIMULATE, ['--seeds', 'abc'], notWhole('seeds', 'abc', 1)],
  [SIMULATE, ['--kind', 'abc'], '--kind is "abc", but must be one of locks, '],
  [SOAK, ['extra'], "Unexpected argument 'extra'"],
])('%s %j is refused', async (program, args, message) => {
  const { code, stdout, stderr } = await run(program, ...args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr.startsWith(message)).toBe(true);
  expect(stderr).toMatch(/\n\nUsage: npm run (?:bench|verify) -- /);
  expect(stderr).not.toMatch(/^ +at /m);
});
