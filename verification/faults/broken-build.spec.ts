/** What the fault suite is for: a build in which a rule is broken is found. */
import { cp, rm } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { buildFolder } from '../../test/support/build-folder.js';
import { breakBuild } from './broken-build.js';
import type { Check } from './evidence.js';
import type { FaultName } from './fault-plan.js';
import { runFaults, SEMAPHORE } from './fault-run.js';
import type { LockProfile } from './programs/messages.js';

const TEST_TIME = 300_000;

interface Finding {
  readonly mutant: string;
  readonly check: Check;
  /** Milliseconds. */
  readonly duration: number;
  readonly locks: readonly LockProfile[];
  readonly only: readonly FaultName[];
}

it.each<Finding>([
  {
    mutant: 'a slot more than there are permits',
    check: 'too-many-holders',
    duration: 15_000,
    locks: [SEMAPHORE],
    only: ['slow network'],
  },
  {
    mutant: 'a leadership that outlives its lock',
    check: 'two-holders',
    duration: 15_000,
    locks: [],
    only: [
      'SIGSTOP for longer than the lease',
      'black hole',
      'connections refused',
    ],
  },
])(
  'finds $mutant',
  async ({ mutant, check, ...options }) => {
    const build = `${buildFolder()}-broken`;
    try {
      await cp(buildFolder(), build, { recursive: true });
      await breakBuild(build, mutant);
      const { verdict } = await runFaults({
        ...options,
        seed: '7',
        processes: 4,
        gap: 300,
        servedWithin: 1_000,
        build,
      });
      const checks = verdict.findings.map((finding) => finding.check);
      expect(checks).toContain(check);
    } finally {
      await rm(build, { recursive: true, force: true });
    }
  },
  TEST_TIME,
);
