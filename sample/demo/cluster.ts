/** The API server of the demo: an embedded one, or that of the local kubeconfig. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LeaseApiServer } from 'nestjs-k8s-lock/testing';

export interface Cluster extends AsyncDisposable {
  /** For people. */
  readonly description: string;
  /** The environment in which a replica finds it. */
  readonly env: NodeJS.ProcessEnv;
}

/** The replicas find it themselves. */
export function localCluster(): Cluster {
  return {
    description: 'the cluster of your kubeconfig',
    env: {},
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Starts an API server for Leases in this process. */
export async function embeddedCluster(): Promise<Cluster> {
  const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-sample-'));
  const server = await LeaseApiServer.start();
  const path = join(folder, 'kubeconfig');
  await writeFile(path, server.kubeConfigYaml());
  return {
    description: `embedded in this process (${server.url})`,
    env: { KUBECONFIG: path },
    [Symbol.asyncDispose]: async () => {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
