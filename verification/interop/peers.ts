/** Builds the program with the peers that are written in Go. */
import { fileURLToPath } from 'node:url';
import { buildGoProgram } from '../go-program.js';

/** Returns the path of the binary. After kube-apiserver, which has the same packages, it is built in seconds. */
export function buildPeers(): Promise<string> {
  return buildGoProgram({
    name: 'lease-peers',
    directory: fileURLToPath(new URL('peers', import.meta.url)),
    versionOf: 'k8s.io/client-go',
  });
}
