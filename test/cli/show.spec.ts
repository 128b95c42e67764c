/** `list`, `inspect`, `watch`, `history`, `release`, `doctor` and `completion`, as people start them. */
import { spawnSync } from 'node:child_process';
import { existsSync, openSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { clientOf } from '../../lib/lock.client.js';
import { LockService } from '../../lib/lock.service.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { describeOnServer } from '../api-servers.js';
import { findUnprintable, HOSTILE_TEXTS } from '../security/hostile-text.js';
import { eventually } from '../support/eventually.js';
import { Cli } from './cli.js';

const cli = new Cli();

describeOnServer('the CLI with the rights of its documentation', (server) => {
  let env: NodeJS.ProcessEnv;
  let admin: NodeJS.ProcessEnv;
  let store: KubernetesLeaseStore;
  beforeAll(async () => {
    const apiGroups = ['coordination.k8s.io'];
    const resources = ['leases'];
    const verbs = ['get', 'list', 'watch', 'create', 'update', 'patch'];
    await server.grant({ apiGroups, resources, verbs });
    env = {
      KUBECONFIG: cli.kubeconfig(
        server.restrictedKubeConfigYaml,
        `restricted-${server.kind}`,
      ),
    };
    admin = {
      KUBECONFIG: cli.kubeconfig(server.kubeConfigYaml, `admin-${server.kind}`),
    };
    store = new KubernetesLeaseStore({
      kubeConfig: server.kubeConfig,
      requestTimeout: 5_000,
    });
  });

  /** Runs the CLI in the namespace of the suite. */
  const run = (...args: string[]) =>
    cli.run([...args, '-n', server.namespace], env);

  async function withLock(
    name: string,
    work: (holder: string) => Promise<void>,
  ): Promise<void> {
    const { kubeConfig, namespace } = server;
    const service = new LockService(
      resolveModuleOptions({ kubeConfig, namespace }),
    );
    const lock = await service.acquire(name);
    try {
      await work(lock.holderIdentity);
    } finally {
      await lock.release();
      await clientOf(service)!.shutdown();
    }
  }

  it('lists and inspects what is held, in every format', async () => {
    await withLock('Nightly report', async (holder) => {
      const listed = await run('list');
      expect(listed.code).toBe(0);
      expect(listed.stdout).toMatch(/^NAME +STATUS +HOLDER/);
      expect(listed.stdout).toMatch(/^Nightly report +held /m);
      const asJson = await run('list', '-o', 'json');
      expect(JSON.parse(asJson.stdout)).toMatchObject({
        locks: [{ name: 'Nightly report', state: 'held', holder }],
        sessions: [],
      });
      const { stdout: asName } = await run('list', '-o', 'name');
      expect(asName).toMatch(
        /^lease\.coordination\.k8s\.io\/nightly-report--[0-9a-f]{32}\n$/,
      );
      const { stdout } = await run('inspect', asName.trim(), '-o', 'yaml');
      expect(stdout).toContain(`holder: ${JSON.stringify(holder)}`);
      const inspected = await run('inspect', 'Nightly report');
      expect(inspected.stdout).toContain(holder);
      const none = await run('list', '-l', 'app.kubernetes.io/managed-by=x');
      expect(none.stdout).not.toContain('Nightly');
      const all = await cli.run(['list', '-A', '-o', 'wide'], admin);
      expect(all.stdout).toMatch(
        new RegExp(`^${server.namespace} +Nightly report`, 'm'),
      );
    });
  });

  it('says what right is missing', async () => {
    const { code, stderr } = await cli.run(['list', '-A'], env);
    expect(code).toBe(1);
    expect(stderr).toContain(
      'Grant these credentials the verb "list" on leases.coordination.k8s.io in all namespaces',
    );
  });

  it('watches each change', async () => {
    const watch = cli.start(
      ['watch', 'watched', '-o', 'json', '-n', server.namespace],
      env,
    );
    await eventually(() => {
      expect(watch.stdout).toContain('"free"');
    });
    await withLock('watched', async (holder) => {
      await eventually(() => {
        expect(watch.stdout).toContain(holder);
      });
    });
    await eventually(() => {
      const last = watch.stdout.trim().split('\n').at(-1)!;
      expect(JSON.parse(last)).toMatchObject({ state: 'free', exists: true });
    });
  });

  it('takes a lock by force only when it is told to, and names the holder', async () => {
    await withLock('stuck', async (holder) => {
      const asked = await run('release', 'stuck');
      expect(asked.code).toBe(1);
      expect(asked.stderr).toContain(holder);
      expect(asked.stderr).toContain('--force');
      const forced = await run('release', 'stuck', '--force');
      expect(forced).toMatchObject({ code: 0 });
      expect(forced.stdout).toContain(`was taken from ${holder}`);
      const history = await run('history', 'stuck');
      expect(history.stdout).toMatch(/released by force +\S+/);
      expect((await run('release', 'stuck', '--force')).stdout).toContain(
        'was free',
      );
    });
  });

  it('tells the last fire', async () => {
    const key = { namespace: server.namespace, name: 'fired' };
    await store.create(key, {
      metadata: {
        name: key.name,
        annotations: {
          'nestjs-k8s-lock/name': 'fired',
          'nestjs-k8s-lock/fire': '2026-01-01T03:00:00.000Z done by pod_1',
        },
      },
    });
    const { stdout } = await run('history', 'fired');
    expect(stdout).toMatch(/2026-01-01T03:00:00\.000Z +.*done +pod_1/);
    const examined = await run('doctor', 'another');
    expect(examined.stdout).toContain(
      `kubectl delete lease -n ${server.namespace} fired`,
    );
  });

  it('says that a lock was never held', async () => {
    const { code, stderr } = await run('inspect', 'unheard-of');
    expect(code).toBe(1);
    expect(stderr).toContain('was never held');
  });

  it('examines the cluster and the rights', async () => {
    const { code, stdout } = await run('doctor');
    expect(stdout).toContain('right to patch');
    expect(stdout).toMatch(/warning +right to delete/);
    expect(stdout).toMatch(/ok +clock/);
    expect(code).toBe(0);
    const elsewhere = await cli.run(['doctor', '-n', 'default'], env);
    expect(elsewhere.code).toBe(1);
    expect(elsewhere.stdout).toMatch(
      /fault +right to update +Missing.*deploy\/kustomize\/base\/any-lock\.yaml/,
    );
  });

  it('prints nothing of a hostile record as it is', async () => {
    const hostile = Object.entries(HOSTILE_TEXTS)
      .filter(([what]) => !what.startsWith('a mebibyte'))
      .map(([, text]) => text);
    const large = `\u001B[2J${'<script>'.repeat(12_500)}`;
    for (const [index, text] of [...hostile, large].entries()) {
      const name = `hostile-${index}`;
      const wellFormed = Buffer.from(text).toString();
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await store.create(
        { namespace: server.namespace, name },
        {
          metadata: {
            name,
            annotations: {
              'nestjs-k8s-lock/name': wellFormed,
              'nestjs-k8s-lock/withdrawn': wellFormed.slice(0, 1_000),
              'nestjs-k8s-lock/fire': `2026-01-01T03:00:00Z begun by ${wellFormed.slice(0, 1_000)}`,
            },
          },
          spec: { holderIdentity: wellFormed, leaseDurationSeconds: 15 },
        },
      );
    }
    const commands = [
      ['list'],
      ['list', '-o', 'wide'],
      ['list', '-o', 'json'],
      ['list', '-o', 'yaml'],
      ['doctor'],
      ['inspect', `hostile-${hostile.length}`],
      ['history', 'hostile-3'],
      ['release', 'hostile-3'],
      ['release', 'hostile-3', '--force'],
    ];
    for (const command of commands) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { stdout, stderr } = await run(...command);
      const isForPrograms = ['json', 'yaml'].includes(command.at(-1)!);
      const faults = `${stdout}${stderr}`.split('\n').map((line) =>
        // Text for programs is complete, for people it is cut.
        isForPrograms
          ? /[\p{C}\p{Zl}\p{Zp}]/u.exec(line)?.[0]
          : findUnprintable(line),
      );
      expect({ command, faults: faults.filter(Boolean) }).toEqual({
        command,
        faults: [],
      });
    }
  }, 180_000);
});

describe('completion', () => {
  it.each(['bash', 'zsh', 'fish'])('is a script of %s', async (shell) => {
    const { code, stdout } = await cli.run(['completion', shell]);
    expect(code).toBe(0);
    expect(stdout).toContain('history');
    // Null where there is no such shell.
    expect([0, null]).toContain(
      spawnSync(shell, ['-n'], { input: stdout }).status,
    );
  });
});

describe('an output that cannot be written', () => {
  it.skipIf(!existsSync('/dev/full'))('is a failure', async () => {
    const { code, stderr } = await cli.run(['completion', 'bash'], {}, [
      'ignore',
      openSync('/dev/full', 'w'),
      'pipe',
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain("The output can't be written: ENOSPC");
  });

  it('is none when its reader has ended', async () => {
    const run = cli.start(['completion', 'bash'], {});
    run.child.stdout!.destroy();
    expect(await run.ended).toMatchObject({ code: 0, stderr: '' });
  });
});

describe('a faulty command line', () => {
  it.each([
    [['list', 'name'], 'list takes no parameter'],
    [['inspect'], 'inspect takes NAME'],
    [['run', 'job'], 'run needs a command after --'],
    [
      ['list', '-o', 'xml'],
      '--output of list must be json, yaml, wide or name',
    ],
    [['list', '--force'], '--force is not a flag of list'],
    [
      ['release', 'lease.coordination.k8s.io/job', '--slot', '1', '--force'],
      '--slot must not be given with',
    ],
    [['list', '-l', 'a in (b)'], '--selector'],
    [['run', 'job', '--wait', 'x', '--', 'true'], '--wait must be a number'],
    [
      ['run', 'job', '--wait', '1', '--skip', '--', 'true'],
      'exclude each other',
    ],
    [['completion', 'tcsh'], 'bash, zsh or fish'],
  ])('%j is told', async (args, message) => {
    const { code, stderr } = await cli.run(args);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
    expect(stderr).toContain('Usage: nestjs-k8s-lock');
  });

  it('gives 69 of run only, not of a lock with that name', async () => {
    await using server = await LeaseApiServer.start();
    server.faults.inject({ kind: 'status', code: 403 });
    const env = {
      KUBECONFIG: cli.kubeconfig(server.kubeConfigYaml(), 'refused'),
    };
    expect(await cli.run(['inspect', 'run'], env)).toMatchObject({ code: 1 });
    expect(
      await cli.run(['run', 'inspect', '--wait', '5', '--', 'true'], env),
    ).toMatchObject({ code: 69 });
  });

  it('names the contexts that there are', async () => {
    const file = cli.kubeconfig('kind: Config\ncontexts: []\n', 'empty');
    const { code, stderr } = await cli.run(
      ['list', '--kubeconfig', file, '--context', 'other'],
      { KUBERNETES_SERVICE_HOST: '' },
    );
    expect(code).toBe(1);
    expect(stderr).toContain('has no context "other"');
  });
});
