/** The demo of the samples: its table, its exit code, that it can fail, and that it leaves no process behind. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { findTable } from '../../test/docs/pages.js';
import { PackageCopy } from '../../test/package/package-copy.js';
import { Program } from '../../test/package/program.js';
import { SAMPLES } from '../../test/sample/samples.js';
import { findMissing, startDemo } from './sample-demo.js';

const SHORT = ['--seconds', '4'];

/** Three applications start, run and end, on a busy machine. */
vi.setConfig({ testTimeout: 240_000 });

describe('npm start', () => {
  it('ends well in a fresh checkout', async () => {
    await using checkout = await PackageCopy.make('sample');
    await using program = new Program('npm', ['start', '--', ...SHORT], {
      cwd: checkout.folder,
    });
    const output = await program.succeeds();
    expect(findMissing('01-cron-jobs', output)).toEqual([]);
  });

  it.each(SAMPLES)('finds that %s does no work twice', async (sample) => {
    await using program = startDemo([sample, '--seconds', '8']);
    expect(findMissing(sample, await program.succeeds())).toEqual([]);
  });

  it.each(SAMPLES)(
    'fails when the replicas of %s share no lock',
    async (sample) => {
      await using program = startDemo([sample, '--without-lock', ...SHORT]);
      const { code, output } = await program.end();
      expect(output).toMatch(/^FAILED: /m);
      expect(output).toMatch(
        sample === '03-once-per-fire'
          ? /^ +doubles +[1-9]\d* +[1-9]\d*$/m
          : /^ +overlaps +[1-9]\d* /m,
      );
      expect(code).toBe(1);
    },
  );

  it('reports a replica that crashes', async () => {
    await using program = startDemo([]);
    const [pid] = await startedReplicas(program);
    process.kill(pid!, 'SIGABRT');
    const { code, output } = await program.end();
    expect(output).toMatch(
      /^FAILED: replica-\d has ended by itself, by SIGABRT/m,
    );
    expect(code).toBe(1);
  });

  it('ends everything on Ctrl-C', async () => {
    await using program = startDemo([]);
    const pids = await startedReplicas(program);
    program.signal('SIGINT');
    expect((await program.end()).code).toBe(130);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  it('takes its replicas along when it is killed', async () => {
    await using program = startDemo([]);
    const pids = await startedReplicas(program);
    program.signal('SIGKILL');
    await vi.waitFor(() => expect(pids.filter(isAlive)).toEqual([]), 60_000);
  });

  it.each<[string[], RegExp]>([
    [['04-nothing'], /^"04-nothing" is not one of the samples 01-cron-jobs, /],
    [['--seconds', '0'], /^--seconds must be a whole number from 1 to 3600/],
    [['--fast'], /^Unknown option '--fast'/],
    [['--cluster'], /^--cluster needs a kubeconfig, and \/nowhere does not/],
  ])('refuses %j', async (args, message) => {
    await using program = startDemo(args, { KUBECONFIG: '/nowhere' });
    const { code, output } = await program.end();
    expect(output).toMatch(message);
    expect(code).toBe(2);
  });
});

it('the table of docs/scheduled-jobs.md has figures that go together', () => {
  const [runs = [], doubles = [], missed = []] = findTable(
    '## Once per fire',
  ).map(([, ...figures]) => figures.map(Number));
  const fires = runs.map((each, i) => each - doubles[i]! + missed[i]!);
  expect(fires).toEqual([60, 60]);
});

/** The process ids of the replicas, when all of them are ready. */
async function startedReplicas(program: Program): Promise<number[]> {
  const lines = await program.prints(/ready +pid (\d+)/g, 3);
  return lines.map(([, pid]) => Number(pid));
}

/** A zombie is not alive: if its parent was killed, it may stay for long. */
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
