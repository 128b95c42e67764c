/** Builds the kube-apiserver of this folder. */
import { fileURLToPath } from 'node:url';
import { buildGoProgram } from '../go-program.js';

/** Returns the path of the binary; see {@link buildGoProgram}. */
export function buildKubeApiserver(): Promise<string> {
  return buildGoProgram({
    name: 'kube-apiserver',
    directory: fileURLToPath(new URL('.', import.meta.url)),
    versionOf: 'k8s.io/kubernetes',
    linkerFlags: (version) => {
      // Kubernetes has its version from the linker; without it, it calls itself v0.0.0-master.
      const [major, minor] = version.split('.');
      const variables = {
        gitVersion: `v${version}`,
        gitMajor: major,
        gitMinor: minor,
      };
      return Object.entries(variables).map(
        ([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`,
      );
    },
  });
}
