/** What the tests of the samples have in common: that a show ends well, on a real cluster too. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { expect, inject, it } from 'vitest';
import { KubeClient } from '../../test/kube-client.js';
import type { Program } from '../../test/package/program.js';

const { kubeConfig } = inject('kubeApiserver')!;

/** Those of the lines that were not printed, and then what was. */
export function findMissing(
  output: string,
  lines: readonly RegExp[],
): (RegExp | string)[] {
  const missing = lines.filter((line) => !line.test(output));
  return missing.length === 0 ? [] : [...missing, output];
}

/** Tests a sample on the real API server, which it finds as it finds any cluster: by a kubeconfig. */
export function itEndsWellOnCluster(
  start: (args: string[], env: NodeJS.ProcessEnv) => Program,
  args: readonly string[],
  lines: readonly RegExp[],
): void {
  it('ends well with --cluster, on a real API server', async () => {
    await using cluster = await ownNamespace();
    await using program = start(['--cluster', ...args], cluster.env);
    expect(findMissing(await program.succeeds(), lines)).toEqual([]);
  });
}

/** The environment of a kubeconfig whose context names a namespace that nobody else uses. */
async function ownNamespace(): Promise<
  { env: NodeJS.ProcessEnv } & AsyncDisposable
> {
  const namespace = await new KubeClient(kubeConfig).createNamespace();
  const config = new KubeConfig();
  config.loadFromString(kubeConfig);
  config.contexts = config.contexts.map((context) => ({
    ...context,
    namespace,
  }));
  const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-'));
  const path = join(folder, 'kubeconfig');
  await writeFile(path, config.exportConfig());
  return {
    env: { KUBECONFIG: path },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
