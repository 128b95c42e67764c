/** The samples: their names, and the manifests that deploy them. */
import { readFileSync } from 'node:fs';
import { loadAllYaml } from '@kubernetes/client-node';
import type { Manifest } from '../deploy/manifests.js';

export const SAMPLES = ['01-cron-jobs', '02-http', '03-once-per-fire'] as const;

export type Sample = (typeof SAMPLES)[number];

export function readManifests(sample: Sample): Manifest[] {
  const file = new URL(
    `../../sample/${sample}/kubernetes.yaml`,
    import.meta.url,
  );
  return loadAllYaml(readFileSync(file, 'utf8'));
}
