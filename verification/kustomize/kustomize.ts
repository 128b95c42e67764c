/** Builds what `kubectl apply --kustomize` would apply, with kustomize's own code. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Manifest } from '../../test/deploy/manifests.js';
import { buildGoProgram } from '../go-program.js';

const run = promisify(execFile);

/** Returns the path of the binary, which is built in half a minute. */
export function buildKustomize(): Promise<string> {
  return buildGoProgram({
    name: 'kustomize',
    directory: fileURLToPath(new URL('.', import.meta.url)),
    versionOf: 'sigs.k8s.io/kustomize/api',
  });
}

/** The objects of an overlay of `deploy/kustomize`, in the order in which they are applied. */
export async function buildOverlay(name: string): Promise<Manifest[]> {
  const folder = new URL(
    `../../deploy/kustomize/overlays/${name}`,
    import.meta.url,
  );
  const { stdout } = await run(await buildKustomize(), [fileURLToPath(folder)]);
  return JSON.parse(stdout);
}
