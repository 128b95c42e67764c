/** `run`: the command runs under the lock, gets its signals, and its exit code is that of `run`. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { eventually } from '../support/eventually.js';
import { Cli, STUBBORN, type Run } from './cli.js';

const cli = new Cli();
let server: LeaseApiServer;
let names = 0;
let name: string;
let beats: string;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  server = await LeaseApiServer.start();
  env = { KUBECONFIG: cli.kubeconfig(server.kubeConfigYaml()) };
});
beforeEach(() => {
  server.faults.clear();
  name = `job-${++names}`;
  beats = join(cli.folder, name);
});
afterAll(() => server.stop());

const lease = () => server.lease({ namespace: 'default', name })?.spec;
const lastBeat = (): number =>
  Number(readFileSync(beats, 'utf8').trimEnd().split('\n').at(-1));

/** A run of a stubborn command. */
async function startStubborn(): Promise<Run> {
  const command = [process.execPath, '-e', STUBBORN, beats];
  const run = cli.start(['run', name, '--lease', '3', '--', ...command], env);
  await eventually(() => {
    expect(existsSync(beats)).toBe(true);
  });
  return run;
}

/** Resolves when the command has written nothing for longer than it could be held up. */
async function isOver(): Promise<void> {
  await eventually(() => {
    expect(Date.now() - lastBeat()).toBeGreaterThan(1_000);
  });
}

/** Runs a program of Node.js under the lock. */
const runNode = (program: string, ...flags: string[]) =>
  cli.run(['run', name, ...flags, '--', process.execPath, '-e', program], env);

/** A run of a program of Node.js, once it can be reached by signals. */
async function startReady(program: string): Promise<Run> {
  const command = [process.execPath, '-e', `${program}; console.log('ready')`];
  const run = cli.start(['run', name, '--', ...command], env);
  await eventually(() => {
    expect(run.stdout).toContain('ready');
  });
  return run;
}

describe('run', () => {
  it('gives the exit code of the command, whose lock is released', async () => {
    const { code } = await runNode('process.exit(42)');
    expect(code).toBe(42);
    expect(lease()).toMatchObject({ leaseTransitions: 0 });
    expect(lease()).not.toHaveProperty('holderIdentity');
  });

  it('tells the command its lock and its fencing token', async () => {
    const { stdout } = await runNode(
      'console.log(JSON.stringify(process.env))',
    );
    expect(JSON.parse(stdout)).toMatchObject({
      K8S_LOCK_NAME: name,
      K8S_LOCK_NAMESPACE: 'default',
      K8S_LOCK_LEASE: name,
      K8S_LOCK_HOLDER: expect.stringContaining('_'),
      K8S_LOCK_FENCING_TOKEN: expect.stringMatching(/^\d+$/),
    });
  });

  it('tells the command its own slot only, not that of a run around it', async () => {
    const inner = await cli.run(
      ['run', name, '--', process.execPath, '-p', 'process.env.K8S_LOCK_SLOT'],
      { ...env, K8S_LOCK_SLOT: '7' },
    );
    expect(inner.stdout).toBe('undefined\n');
    const slot = await cli.run(
      [
        'run',
        `${name}-permits`,
        '--permits',
        '2',
        '--',
        process.execPath,
        '-p',
        'process.env.K8S_LOCK_SLOT',
      ],
      env,
    );
    expect(slot.stdout).toBe('0\n');
  });

  it('fails, and acquires nothing, if its watchdog does not start', async () => {
    const preload = join(cli.folder, 'preload.cjs');
    writeFileSync(
      preload,
      "if (process.argv[1].endsWith('watchdog.js')) process.exit(0);",
    );
    const { code, stdout, stderr } = await cli.run(
      ['run', name, '--', process.execPath, '-p', '1'],
      { ...env, NODE_OPTIONS: `--require ${preload}` },
    );
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('the command was not started');
    expect(lease()).toBeUndefined();
  });

  it('gives the exit code of the command also if the lock cannot be released', async () => {
    const run = await startReady(
      `setInterval(() => { if (fs.existsSync(${JSON.stringify(beats)})) process.exit(42); }, 5)`,
    );
    server.faults.inject({ kind: 'drop', when: 'before' });
    writeFileSync(beats, '');
    expect((await run.ended).code).toBe(42);
  });

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    'passes %s on, and waits for the end of the command',
    async (signal) => {
      const run = await startReady(
        `process.on('${signal}', () => { console.log('got it'); process.exit(7); }); setInterval(() => {}, 1e6)`,
      );
      run.child.kill(signal);
      expect(await run.ended).toMatchObject({
        code: 7,
        stdout: 'ready\ngot it\n',
      });
      expect(lease()).not.toHaveProperty('holderIdentity');
    },
  );

  it('gives 128 and the number of the signal that ended the command', async () => {
    const { code } = await runNode("process.kill(process.pid, 'SIGKILL')");
    expect(code).toBe(128 + 9);
  });

  it('kills what the command has left running', async () => {
    const { code } = await runNode(
      `child_process.spawn(process.execPath, ['-e', ${JSON.stringify(STUBBORN)}, ${JSON.stringify(beats)}], { stdio: 'ignore' }); setInterval(() => { if (fs.existsSync(${JSON.stringify(beats)})) process.exit(0); }, 5)`,
    );
    expect(code).toBe(0);
    await isOver();
  });

  it.each([['--wait', '0.1'], ['--skip']])(
    'with %s gives 75 while another holds the lock',
    async (...flags) => {
      const holder = await startStubborn();
      const { code, stderr, stdout } = await runNode(
        'console.log("ran")',
        ...flags,
      );
      expect({ code, stdout }).toEqual({ code: 75, stdout: '' });
      expect(stderr).toContain('was not acquired');
      holder.child.kill('SIGKILL');
      await isOver();
    },
  );

  it('ends its wait at a signal', async () => {
    const holder = await startStubborn();
    const run = cli.start(['run', name, '--', 'true'], env);
    await eventually(() => {
      expect(
        Object.keys(
          server.lease({ namespace: 'default', name })?.metadata.annotations ??
            {},
        ).join(' '),
      ).toContain('line.');
    });
    run.child.kill('SIGTERM');
    expect((await run.ended).code).toBe(128 + 15);
    holder.child.kill('SIGKILL');
    await isOver();
  });

  it.each([
    ['no-such-command-anywhere', 127],
    ['/', 126],
  ])('gives the code of a shell for %s', async (command, code) => {
    const ended = await cli.run(['run', name, '--', command], env);
    expect(ended.code).toBe(code);
    expect(ended.stderr).toContain("can't be run");
    expect(lease()).not.toHaveProperty('holderIdentity');
  });

  it('gives 69 if the API server refuses', async () => {
    server.faults.inject({ kind: 'status', code: 403 });
    const { code, stderr } = await runNode('console.log("ran")');
    expect(code).toBe(69);
    expect(stderr).toContain('403');
  });
});
