/** Sample 01, run as a user would: its table, its exit code, that it can fail, and that nothing survives it. */
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { PackageCopy } from '../../test/package/package-copy.js';
import { Program } from '../../test/package/program.js';
import { findMissing, itEndsWellOnCluster } from './good-end.js';

const SHORT = ['--seconds', '10'];
/** For three applications that start, run for that long and end, on a busy machine. */
const TIMEOUT = 120_000;

/** What is printed when all goes well. */
const GOOD_END = [
  /^ +\d+\.\d\d +replica-\d +RUN +fencing token \d+/m,
  /^ +\d+\.\d\d +replica-\d +skip +replica-\d has the lock/m,
  /^ +\d+\.\d\d +client +423 +Locked, /m,
  /^ +\d+\.\d\d +replica-\d +KILL +kill -9 \d+/m,
  /^ +\d+\.\d\d +replica-\d +RUN .*, takes over$/m,
  /^ +replica-\d +\d+ +\d+ +killed at work$/m,
  /^ +overlaps +0 /m,
  /^ +takeover +\d+\.\d\d s /m,
  /^ +fencing tokens +rising /m,
  /^OK: /m,
];

let built: PackageCopy;
beforeAll(async () => {
  built = await PackageCopy.make('sample');
  const cwd = built.folder;
  await new Program('npm', ['run', 'build'], { cwd }).succeeds();
  await new Program('npx', ['tsc', '-p', 'sample'], { cwd }).succeeds();
}, TIMEOUT);
afterAll(() => built?.[Symbol.asyncDispose]());

describe.concurrent('sample 01', { timeout: TIMEOUT }, () => {
  it('ends well in a fresh checkout, by `npm start`', async () => {
    await using checkout = await PackageCopy.make('sample');
    await using program = new Program('npm', ['start', '--', ...SHORT], {
      cwd: checkout.folder,
    });
    expect(findMissing(await program.succeeds(), GOOD_END)).toEqual([]);
  });

  itEndsWellOnCluster(sample, SHORT, GOOD_END);

  it('fails when the replicas share no lock', async () => {
    await using program = sample(['--without-lock', ...SHORT]);
    const { code, output } = await program.end();
    expect(output).toMatch(/^FAILED: replicas worked at the same time/m);
    expect(output).toMatch(/^ +overlaps +[1-9]\d* /m);
    expect(code).toBe(1);
  });

  it('reports a replica that crashes', async () => {
    await using program = sample([]);
    const [pid] = await startedReplicas(program);
    process.kill(pid!, 'SIGABRT');
    const { code, output } = await program.end();
    expect(output).toMatch(/^FAILED: replica-\d ended by itself, by SIGABRT/m);
    expect(code).toBe(1);
  });

  it('ends everything on Ctrl-C', async () => {
    await using program = sample([]);
    const pids = await startedReplicas(program);
    program.signal('SIGINT');
    expect((await program.end()).code).toBe(130);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  it('takes its replicas along when it is killed', async () => {
    await using program = sample([]);
    const pids = await startedReplicas(program);
    program.signal('SIGKILL');
    await vi.waitFor(() => expect(pids.filter(isAlive)).toEqual([]), 30_000);
  });

  it.for<[string[], RegExp]>([
    [['--seconds', '5'], /^--seconds must be a whole number from 10 to/],
    [['--fast'], /^Unknown option '--fast'/],
    [['--cluster'], /^--cluster needs a kubeconfig, and \/nowhere does not/],
  ])('refuses %j', async ([args, message]) => {
    await using program = sample(args, { KUBECONFIG: '/nowhere' });
    const { code, output } = await program.end();
    expect(output).toMatch(message);
    expect(code).toBe(2);
  });
});

function sample(args: string[], env?: NodeJS.ProcessEnv): Program {
  return new Program(
    process.execPath,
    ['.build/sample/01-cron-jobs/main.js', ...args],
    { cwd: built.folder, env },
  );
}

/** The process ids of the replicas, once all of them are there. */
async function startedReplicas(program: Program): Promise<number[]> {
  const lines = await program.prints(/ready +pid (\d+)/g, 3);
  return lines.map(([, pid]) => Number(pid));
}

/** A zombie is not: one whose parent was killed may wait long for somebody to take notice. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return (
      !existsSync('/proc') ||
      !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
    );
  } catch {
    return false;
  }
}
