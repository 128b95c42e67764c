/** Runs a suite with the peers that are written in Go, on a real API server. */
import { beforeAll, describe, inject } from 'vitest';
import { KubeClient } from '../kube-apiserver/kube-client.js';
import { obtainPeers } from './peers.js';

const cluster = inject('kubeApiserver');
const peers = 'skipped' in cluster ? cluster : await obtainPeers();

/** What a suite works with. Complete once the suite's own hooks and tests run. */
export interface Interop {
  /** The program with the peers. */
  readonly binary: string;
  readonly kubeConfigYaml: string;
  /** One that nobody else uses. */
  readonly namespace: string;
}

/** Where there are no peers, or no real API server, the suite is reported as skipped, with the reason. */
export function describeInterop(
  name: string,
  suite: (interop: Interop) => void,
): void {
  const reason = 'skipped' in peers ? ` (skipped: ${peers.skipped})` : '';
  describe.skipIf(reason !== '')(`${name}${reason}`, () => {
    let ready: Interop | undefined;
    const started = (): Interop => {
      if (ready) {
        return ready;
      }
      throw new Error('the peers are there for hooks and tests only');
    };
    beforeAll(async () => {
      if ('skipped' in peers || 'skipped' in cluster) {
        return;
      }
      const { kubeConfig: kubeConfigYaml } = cluster;
      const namespace = await new KubeClient(kubeConfigYaml).createNamespace();
      ready = { binary: peers.binary, kubeConfigYaml, namespace };
    });
    suite({
      get binary() {
        return started().binary;
      },
      get kubeConfigYaml() {
        return started().kubeConfigYaml;
      },
      get namespace() {
        return started().namespace;
      },
    });
  });
}
