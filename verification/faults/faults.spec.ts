/** A short run of the fault suite: every kind of fault, in real processes on a real API server. */
import { expect, it } from 'vitest';
import { buildFolder } from '../../test/support/build-folder.js';
import { FAULT_NAMES } from './fault-plan.js';
import { ELECTION, runFaults, SEMAPHORE } from './fault-run.js';
import { explain, format, tableOf } from './figures.js';

/** One whose plan has every kind of fault. */
const SEED = '7';
const DURATION = 22_000;
const TEST_TIME = 600_000;

it(
  'Faults make no two holders and no two leaders, and when they are over everybody gets every lock, and leads',
  async () => {
    const run = await runFaults({
      seed: SEED,
      processes: 4,
      duration: DURATION,
      gap: 300,
      build: buildFolder(),
    });
    process.stdout.write(`${format(tableOf(run))}\n`);
    expect(explain(run)).toBe('');

    const injected = new Set(run.evidence.faults.map(({ kind }) => kind));
    for (const kind of FAULT_NAMES) {
      expect(injected).toContain(kind);
    }
    const patches = run.evidence.writes.filter(({ verb }) => verb === 'patch');
    const suffered = new Set(patches.map((patch) => patch.suffered));
    expect(suffered).toContain('sent late');
    expect(suffered).toContain('answer lost');
    expect(run.notInjected).toEqual([]);
    expect(run.evidence.beliefs.length).toBeGreaterThan(0);
    expect(run.evidence.register.length).toBeGreaterThan(0);
    const { beliefs, permits } = run.evidence;
    const ofSemaphore = beliefs.filter(({ name }) => name === SEMAPHORE.name);
    const slots = new Set(ofSemaphore.map(({ lock }) => lock));
    expect(slots.size).toBe(permits.get(SEMAPHORE.name));
    const leaders = beliefs.filter(({ name }) => name === ELECTION.name);
    const processes = new Set(leaders.map(({ process }) => process));
    expect(processes.size).toBeGreaterThan(1);
  },
  TEST_TIME,
);
