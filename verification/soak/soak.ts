/**
 * Many locks for a long time, with faults all along: what the processes have in use must be the same
 * at the end as it was when they had warmed up.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { check } from '../faults/checker.js';
import type { Evidence, Finding } from '../faults/evidence.js';
import { FAULT_NAMES } from '../faults/fault-plan.js';
import { FaultRig } from '../faults/fault-rig.js';
import type {
  LockProfile,
  Report,
  Sample,
} from '../faults/programs/messages.js';

export interface SoakOptions {
  readonly seed: string;
  readonly processes: number;
  readonly locks: number;
  /** Milliseconds during which faults are injected. */
  readonly duration: number;
  readonly build: string;
}

/** What a process had in use when it had warmed up, and at the end. */
export interface Growth {
  readonly process: string;
  readonly early: Sample;
  readonly late: Sample;
}

export interface SoakRun {
  readonly growths: readonly Growth[];
  readonly evidence: Evidence;
  readonly findings: readonly Finding[];
}

const CALLERS = 6;
/** Of the duration, before the first look. */
const WARM_UP = 0.2;
const GAP = 2_000;
/** Milliseconds until nothing lingers: idle connections, watches, withdrawals of writes of unknown outcome. */
const SETTLING = 75_000;
const TIMEOUT = 60_000;
const MEBIBYTE = 1_048_576;

/** What may be more at the end than it was: the compiler and its caches are never quite done. */
const MOST_GROWTH = { heap: 4 * MEBIBYTE, resources: 2, sockets: 2, files: 2 };

export async function soak(options: SoakOptions): Promise<SoakRun> {
  const { duration, locks: count, ...rest } = options;
  const locks = Array.from({ length: count }, (_, index): LockProfile => ({
    name: `soak-${index + 1}`,
    weight: 1,
    options: { leaseDuration: 2_000, deleteOnRelease: index % 4 === 0 },
  }));
  await using rig = await FaultRig.start({
    ...rest,
    locks,
    callers: CALLERS,
    execArgv: ['--expose-gc'],
  });
  // A process that was killed has nothing in use.
  const faults = FAULT_NAMES.filter((name) => !name.startsWith('kill -9'));
  await rig.injectFaults(duration * WARM_UP, GAP, faults);
  const early = await sampleAll(rig);
  rig.workforce.turnTo('work');
  await rig.injectFaults(duration * (1 - WARM_UP), GAP, faults);
  const late = await sampleAll(rig);
  await rig.workforce.finish(TIMEOUT);
  const evidence = rig.evidence();
  const growths = [...early].map(([process, sample]) => ({
    process,
    early: sample,
    late: late.get(process)!,
  }));
  const { findings } = check(evidence);
  return {
    growths,
    evidence,
    findings: [...findings, ...growths.flatMap(judge)],
  };
}

/** What each process has in use when it has had nothing to do for a while. */
async function sampleAll(rig: FaultRig): Promise<Map<string, Sample>> {
  const { workforce } = rig;
  const resting = hearAll(rig, (report) => report.type === 'resting');
  workforce.turnTo('rest');
  await resting;
  await sleep(SETTLING);
  const samples = new Map<string, Sample>();
  const sampled = hearAll(rig, (report, process) => {
    if (report.type === 'sample') {
      samples.set(process, report.sample);
    }
    return report.type === 'sample';
  });
  workforce.alive.forEach((worker) => worker.sample());
  await sampled;
  return samples;
}

/** Resolves when every process has said what is awaited. */
async function hearAll(
  { workforce }: FaultRig,
  isAwaited: (report: Report, process: string) => boolean,
): Promise<void> {
  const silent = new Set(workforce.alive.map(({ name }) => name));
  let stop: (() => void) | undefined;
  const all = new Promise<void>((resolve) => {
    stop = workforce.listen(({ name }, report) => {
      if (isAwaited(report, name)) {
        silent.delete(name);
        if (silent.size === 0) {
          resolve();
        }
      }
    });
  });
  const given = new AbortController();
  const late = sleep(TIMEOUT, undefined, { signal: given.signal }).catch(
    () => undefined,
  );
  await Promise.race([all, late]);
  given.abort();
  stop?.();
  if (silent.size > 0) {
    throw new Error(`nothing is heard of ${[...silent].join(', ')}`);
  }
}

function judge({ process, early, late }: Growth): Finding[] {
  const kinds = new Set(Object.keys({ ...early.resources, ...late.resources }));
  const compared: [what: string, early: number, late: number, most: number][] =
    [
      ['bytes of heap', early.heap, late.heap, MOST_GROWTH.heap],
      ['sockets', early.sockets, late.sockets, MOST_GROWTH.sockets],
      ['files', early.files, late.files, MOST_GROWTH.files],
      ...[...kinds].map((kind): [string, number, number, number] => [
        kind,
        early.resources[kind] ?? 0,
        late.resources[kind] ?? 0,
        MOST_GROWTH.resources,
      ]),
    ];
  return compared
    .filter(([, was, is, most]) => is - was > most)
    .map(([what, was, is]) => ({
      check: 'leak',
      at: 0,
      text: `${process} had ${was} ${what} in use, and ${is} at the end`,
    }));
}
