/** Sample 02, run as a user would: its answers, its tables, its exit code, and that it can fail. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PackageCopy } from '../../test/package/package-copy.js';
import { Program } from '../../test/package/program.js';
import { findMissing, itEndsWellOnCluster } from './good-end.js';

const SHORT = ['--seconds', '3'];
/** For three applications that start, run for that long and end, on a busy machine. */
const TIMEOUT = 120_000;

/** What is printed when all goes well. */
const GOOD_END = [
  /client +423 +\/orders\/b-1 to replica-2 +Retry-After: \d+ +\{.*"lock":"order-b-1"/,
  /client +gone +away, while its request waits$/m,
  /replica-3 +stop +waiting: its client is gone$/m,
  /client +204 +\/reminders to replica-2$/m,
  /client +503 +\/orders\/c-1\/settlement to replica-1 .*"LockLostError"/,
  /client +201 +\/orders\/c-1\/settlement to replica-2$/m,
  /^ +POST \/orders\/:id\/settlement +'wait' +201: \d+/m,
  /^ +DELETE \/orders\/:id +'throw' .*423: \d+/m,
  /^ +POST \/reminders +'skip' .*204: \d+/m,
  /^ +POST \/stock\/:id\/reservations +'wait', by the interceptor +201: \d+/m,
  /^ +overlaps +0 /m,
  /^ +side by side +[1-9]\d* /m,
  /^ +stale +0 /m,
  /^OK: /m,
];

let built: PackageCopy;
beforeAll(async () => {
  built = await PackageCopy.make('sample');
  await built.run('npm', 'run', 'build');
  await built.run('npx', 'tsc', '-p', 'sample');
}, TIMEOUT);
afterAll(() => built?.[Symbol.asyncDispose]());

function sample(args: string[], env?: NodeJS.ProcessEnv): Program {
  return new Program(
    process.execPath,
    ['.build/sample/02-http/main.js', ...args],
    { cwd: built.folder, env },
  );
}

describe('sample 02', { timeout: TIMEOUT }, () => {
  it('ends well, by its command', async () => {
    const command = ['run', '--silent', 'sample:http', '--', ...SHORT];
    await using program = new Program('npm', command, { cwd: built.folder });
    expect(findMissing(await program.succeeds(), GOOD_END)).toEqual([]);
  });

  itEndsWellOnCluster(sample, SHORT, GOOD_END);

  it('fails when the replicas share no lock', async () => {
    await using program = sample(['--without-lock', ...SHORT]);
    const { code, output } = await program.end();
    expect(output).toMatch(/^FAILED: something was worked on twice at a time/m);
    expect(output).toMatch(/^ +overlaps +[1-9]\d* /m);
    expect(code).toBe(1);
  });

  it('refuses what it can not do', async () => {
    await using program = sample(['--seconds', '1']);
    const { code, output } = await program.end();
    expect(output).toMatch(/^--seconds must be a whole number from 2 to 3600/m);
    expect(code).toBe(2);
  });
});
