/** A short run of the fault suite: every kind of fault, in real processes on a real API server. */
import { describe, expect, inject, it } from 'vitest';
import { FAULT_KINDS } from './fault-plan.js';
import { runFaults } from './fault-run.js';
import { explain, format, tableOf } from './figures.js';

/** One whose plan has every kind of fault. */
const SEED = '7';
const DURATION = 22_000;
const TEST_TIME = 300_000;

const server = inject('kubeApiserver');
const reason =
  'skipped' in server
    ? `; skipped: ${server.skipped}`
    : server.started
      ? ''
      : '; skipped: the cluster that was given must live on';

describe.skipIf(reason !== '')(`faults (real API server${reason})`, () => {
  it(
    'make no two holders, and when they are over everybody gets every lock',
    async () => {
      const build = inject('build');
      if ('failed' in build) {
        throw new Error(build.failed);
      }
      const run = await runFaults({
        seed: SEED,
        processes: 4,
        duration: DURATION,
        gap: 300,
        build: build.folder,
      });
      process.stdout.write(`${format(tableOf(run))}\n`);
      expect(explain(run)).toBe('');

      const injected = new Set(run.evidence.faults.map(({ kind }) => kind));
      for (const kind of Object.keys(FAULT_KINDS)) {
        expect(injected).toContain(kind);
      }
      const mustHaveAll = process.env.CI === 'true';
      expect(mustHaveAll ? run.notInjected : []).toEqual([]);
      expect(run.evidence.beliefs.length).toBeGreaterThan(0);
      expect(run.evidence.register.length).toBeGreaterThan(0);
    },
    TEST_TIME,
  );
});
