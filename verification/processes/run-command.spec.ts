/** `run`: the command never outlives the deadline of its lock, whatever happens to the processes and the connection around it. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, expect, it } from 'vitest';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import type { LeaseSpec } from '../../lib/kube/lease-store.js';
import { describeOnServer } from '../../test/api-servers.js';
import { eventually } from '../../test/support/eventually.js';
import { Cli, STUBBORN, type Run } from '../../test/cli/cli.js';
import { FaultLink } from '../faults/fault-link.js';

/** The lease of the tests, in seconds. */
const LEASE = 3;
/** Milliseconds from a renewal after which another may hold the lock. */
const EXPIRED = LEASE * 1_000;

const cli = new Cli();
let names = 0;

describeOnServer('a command that heeds no signal ends in time', (server) => {
  let env: NodeJS.ProcessEnv;
  let link: FaultLink;
  let store: KubernetesLeaseStore;
  let name: string;
  let beats: string;
  beforeAll(async () => {
    const verbs = ['get', 'list', 'watch', 'create', 'update', 'patch'];
    const apiGroups = ['coordination.k8s.io'];
    await server.grant({ apiGroups, resources: ['leases'], verbs });
    const way = await FaultLink.openTo(server.restrictedKubeConfigYaml);
    ({ link } = way);
    const file = cli.kubeconfig(way.kubeConfig.exportConfig());
    env = { KUBECONFIG: file };
    store = new KubernetesLeaseStore({
      kubeConfig: server.kubeConfig,
      requestTimeout: 5_000,
    });
    return () => link.close();
  });
  beforeEach(() => {
    name = `job-${++names}`;
    beats = join(cli.folder, name);
  });

  async function lease(): Promise<LeaseSpec | null | undefined> {
    const { namespace } = server;
    return (await store.get({ namespace, name }))?.spec;
  }

  const lastBeat = (): number =>
    Number(readFileSync(beats, 'utf8').trimEnd().split('\n').at(-1));

  /** A run of the command, whose lock was renewed at least once. */
  async function start(): Promise<Run> {
    const flags = ['-n', server.namespace, '--lease', String(LEASE)];
    const command = [process.execPath, '-e', STUBBORN, beats];
    const run = cli.start(
      ['run', name, ...flags, '--grace', '0.2', '--', ...command],
      env,
    );
    await eventually(() => {
      expect(existsSync(beats)).toBe(true);
    });
    const first = (await lease())?.renewTime;
    await eventually(async () => {
      expect((await lease())?.renewTime).not.toBe(first);
    });
    return run;
  }

  /** Resolves when the command has written nothing for longer than it could be held up. */
  async function isOver(): Promise<void> {
    await eventually(() => {
      expect(Date.now() - lastBeat()).toBeGreaterThan(1_000);
    });
  }

  /** Milliseconds from the last renewal of the lock to the last that the command has written. */
  async function ranFor(): Promise<number> {
    const spec = await lease();
    return lastBeat() - Date.parse(spec!.renewTime!);
  }

  it('when run is killed with SIGKILL', async () => {
    const run = await start();
    run.child.kill('SIGKILL');
    await isOver();
    expect(await ranFor()).toBeLessThan(EXPIRED);
  });

  it('when run is stopped with SIGSTOP', async () => {
    const run = await start();
    run.child.kill('SIGSTOP');
    await isOver();
    expect(await ranFor()).toBeLessThan(EXPIRED);
    run.child.kill('SIGCONT');
    expect((await run.ended).code).toBe(76);
  });

  it('when it does not heed the SIGTERM that run passes on, and run is killed then', async () => {
    const run = await start();
    run.child.kill('SIGTERM');
    const passedOnAt = Date.now();
    await eventually(() => {
      expect(lastBeat()).toBeGreaterThan(passedOnAt + EXPIRED);
    });
    // The lock is held for as long as it runs.
    expect(await ranFor()).toBeLessThan(EXPIRED);
    run.child.kill('SIGKILL');
    await isOver();
    expect(await ranFor()).toBeLessThan(EXPIRED);
  });

  it('when the API server is lost', async () => {
    const run = await start();
    link.requests.hold();
    expect((await run.ended).code).toBe(76);
    expect(await ranFor()).toBeLessThan(EXPIRED);
    link.heal();
  });

  it('when the watchdog is killed', async () => {
    const run = await start();
    const children = readFileSync(
      `/proc/${run.child.pid}/task/${run.child.pid}/children`,
      'utf8',
    );
    process.kill(Number(children.trim()), 'SIGKILL');
    expect((await run.ended).code).toBe(76);
    await isOver();
    expect(await lease()).not.toHaveProperty('holderIdentity');
  });

  it('when the lock is taken by force', async () => {
    const run = await start();
    const forced = await cli.run(
      ['release', name, '--force', '-n', server.namespace],
      env,
    );
    expect(forced.code).toBe(0);
    const { code, stderr } = await run.ended;
    expect(code).toBe(76);
    expect(stderr).toContain('was lost');
    expect(await lease()).not.toHaveProperty('holderIdentity');
  });
});
