/**
 * Gives the whole test run one real API server, or the reason why there is none. Test files share
 * it, so each works in namespaces of its own; one that disturbs the server starts its own.
 */
import type { TestProject } from 'vitest/node';
import { obtainKubeApiserver } from './kube-apiserver/kube-apiserver.js';

/** What a test file gets from `inject('kubeApiserver')`. */
export type ProvidedKubeApiserver =
  | {
      /** Kubeconfig (YAML) of a user who may do everything. */
      kubeConfig: string;
      /** What only a server that was started for this run has; an existing cluster has not. */
      started?: {
        /** Kubeconfig (YAML) of the user `restricted`, who has no rights but those a test grants. */
        restrictedKubeConfig: string;
        /** Kubeconfig (YAML) of a user who may do everything, by client certificate. */
        clientCertificateKubeConfig: string;
      };
    }
  /** There is none, and this is why. */
  | { skipped: string };

declare module 'vitest' {
  export interface ProvidedContext {
    kubeApiserver: ProvidedKubeApiserver;
  }
}

export default async function setup(
  project: TestProject,
): Promise<(() => Promise<void>) | undefined> {
  const obtained = await obtainKubeApiserver({ users: ['restricted'] });
  if ('skipped' in obtained) {
    process.stderr.write(
      `Tests against a real API server are skipped: ${obtained.skipped}\n`,
    );
    project.provide('kubeApiserver', obtained);
    return undefined;
  }
  const { kubeConfig, started } = obtained;
  project.provide('kubeApiserver', {
    kubeConfig,
    started: started && {
      restrictedKubeConfig: started.kubeConfig('restricted'),
      clientCertificateKubeConfig: started.clientCertificateKubeConfig(),
    },
  });
  return () => started?.stop() ?? Promise.resolve();
}
