/** Obtains the program with the peers that are written in Go. */
import { fileURLToPath } from 'node:url';
import { buildGoProgram, orSkipped } from '../go-program.js';

export type ObtainedPeers =
  | { readonly binary: string }
  /** There are none, and this is why. */
  | { readonly skipped: string };

/** Builds it first where that is still to be done: after kube-apiserver, with the same packages, in seconds. */
export function obtainPeers(): Promise<ObtainedPeers> {
  return orSkipped(async () => ({
    binary: await buildGoProgram({
      name: 'lease-peers',
      directory: fileURLToPath(new URL('peers', import.meta.url)),
      versionOf: 'k8s.io/client-go',
    }),
  }));
}
