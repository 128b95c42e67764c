/** Runs a suite with the peers that are written in Go, on a real API server. */
import { beforeAll, describe, inject } from 'vitest';
import { KubeClient } from '../../test/kube-client.js';
import { buildPeers } from './peers.js';

/** What a suite works with. Complete once the suite's own hooks and tests run. */
export interface Interop {
  /** The program with the peers. */
  readonly binary: string;
  readonly kubeConfigYaml: string;
  /** One that nobody else uses. */
  readonly namespace: string;
}

export function describeInterop(
  name: string,
  suite: (interop: Interop) => void,
): void {
  describe(`${name} (real API server)`, () => {
    let ready: Interop | undefined;
    const started = (): Interop => {
      if (ready) {
        return ready;
      }
      throw new Error('the peers are there for hooks and tests only');
    };
    beforeAll(async () => {
      const { kubeConfig: kubeConfigYaml } = inject('kubeApiserver')!;
      const namespace = await new KubeClient(kubeConfigYaml).createNamespace();
      ready = { binary: await buildPeers(), kubeConfigYaml, namespace };
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
