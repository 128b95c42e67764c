/** Prints what processes had in use when they had warmed up and at the end. Exits with 1 when something grew, or anything else was found. */
import { buildForProcesses, removeBuild } from '../../test/build.js';
import { readArguments } from '../arguments.js';
import { soak, type Growth, type SoakRun } from './soak.js';

const { values } = readArguments({
  usage:
    'Usage: npm run verify -- soak [--minutes 10] [--processes 8] [--locks 200] [--seed N]',
  options: {
    minutes: { type: 'string', default: '10' },
    processes: { type: 'string', default: '8' },
    locks: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
  whole: { minutes: 1, processes: 1, locks: 1 },
});

const build = await buildForProcesses();
try {
  console.log(
    `${values.processes} processes, ${values.locks} locks, faults for ${values.minutes} minutes, seed ${values.seed}`,
  );
  const run = await soak({
    seed: values.seed,
    processes: Number(values.processes),
    locks: Number(values.locks),
    duration: Number(values.minutes) * 60_000,
    build,
  });
  print(run);
  process.exitCode = run.findings.length > 0 ? 1 : 0;
} finally {
  await removeBuild();
}

function print({ growths, evidence, findings }: SoakRun): void {
  console.table(Object.fromEntries(growths.map(rowOf)));
  console.log(
    `${evidence.beliefs.length} acquisitions, ${evidence.writes.length} writes to Leases, ${evidence.faults.length} faults, ${findings.length} findings`,
  );
  for (const { check, text } of findings) {
    console.log(`*** ${check}: ${text}`);
  }
}

/** Each as it was and as it is. */
function rowOf({ process, early, late }: Growth): [string, object] {
  return [
    process,
    {
      'heap (MiB)': `${mebibytes(early.heap)} -> ${mebibytes(late.heap)}`,
      timers: `${early.resources.Timeout ?? 0} -> ${late.resources.Timeout ?? 0}`,
      'all resources': `${total(early.resources)} -> ${total(late.resources)}`,
      sockets: `${early.sockets} -> ${late.sockets}`,
      files: `${early.files} -> ${late.files}`,
    },
  ];
}

function total(resources: Readonly<Record<string, number>>): number {
  return Object.values(resources).reduce((sum, count) => sum + count, 0);
}

function mebibytes(bytes: number): string {
  return (bytes / 1_048_576).toFixed(1);
}
