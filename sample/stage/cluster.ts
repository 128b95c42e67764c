/** The API server of a show: an embedded one, or that of the local kubeconfig. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LeaseApiServer } from 'nestjs-k8s-lock/testing';

export interface Cluster extends AsyncDisposable {
  /** For people. */
  readonly description: string;
  /** What the environment of a replica needs in order to find it. */
  readonly env: NodeJS.ProcessEnv;
}

/** @param cluster whether it is to be that of the local kubeconfig */
export async function openCluster({
  cluster,
}: {
  readonly cluster: boolean;
}): Promise<Cluster> {
  return cluster ? localCluster() : embeddedCluster();
}

/** The replicas find it by themselves, as they would without us. */
function localCluster(): Cluster {
  return {
    description: 'the cluster of your kubeconfig',
    env: {},
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Starts a small API server in this process, which knows Leases and nothing else. */
async function embeddedCluster(): Promise<Cluster> {
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
