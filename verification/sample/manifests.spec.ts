/** The manifest of each sample is accepted by the real API server, and its Role is enough for the whole demo. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, inject, it, vi } from 'vitest';
import { applyFor, NAMESPACE } from '../../test/deploy/manifests.js';
import { readManifests, SAMPLES } from '../../test/sample/samples.js';
import { findMissing, startDemo } from './sample-demo.js';

const { kubeConfig: admin } = inject('kubeApiserver')!;

/** What the log says when a right is missing. */
const MISSING_RIGHT = /Grant these credentials|may not /;

vi.setConfig({ testTimeout: 240_000 });

describe.each(SAMPLES)('the manifest of %s', (sample) => {
  // As by `kubectl apply --namespace jobs`.
  const manifests = readManifests(sample).map((manifest) => ({
    ...manifest,
    metadata: { ...manifest.metadata, namespace: NAMESPACE },
  }));
  const account = manifests.find(({ kind }) => kind === 'ServiceAccount')!
    .metadata.name;

  it('grants its service account what the demo needs', async () => {
    const { kubeConfig, remove } = await applyFor(account, admin, manifests);
    const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-'));
    try {
      const path = join(folder, 'kubeconfig');
      await writeFile(path, kubeConfig.exportConfig());
      const args = [sample, '--cluster', '--seconds', '8'];
      await using program = startDemo(args, { KUBECONFIG: path });
      const output = await program.succeeds();
      expect(findMissing(sample, output)).toEqual([]);
      expect(output).not.toMatch(MISSING_RIGHT);
    } finally {
      await rm(folder, { recursive: true, force: true });
      await remove();
    }
  });
});
