/**
 * Gives the whole run one real API server. Test files share it, so each works in namespaces of its own; one
 * that disturbs the server starts another.
 */
import type { TestProject } from 'vitest/node';
import { startKubeApiserver } from './kube-apiserver.js';

export default async function setup(
  project: TestProject,
): Promise<(() => Promise<void>) | undefined> {
  if (process.env.KUBE_APISERVER === 'none') {
    return undefined;
  }
  const server = await startKubeApiserver({ users: ['restricted'] });
  project.provide('kubeApiserver', {
    kubeConfig: server.kubeConfig(),
    restrictedKubeConfig: server.kubeConfig('restricted'),
    clientCertificateKubeConfig: server.clientCertificateKubeConfig(),
  });
  return () => server.stop();
}
