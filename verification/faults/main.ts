/** Injects real faults into real processes on a real API server, and prints the figures. Exits with 1 when anything was found. */
import { buildForProcesses, removeBuild } from '../../test/build.js';
import { readArguments } from '../arguments.js';
import { breakBuild } from './broken-build.js';
import { runFaults } from './fault-run.js';
import { explain, format, tableOf } from './figures.js';

const { values } = readArguments({
  usage: `Usage: npm run verify -- faults [--seconds 240] [--processes 6] [--seed N] [--break MUTANT]

--break builds the package with a rule broken (the name of a mutant, or a part of it), which must be found.`,
  options: {
    seconds: { type: 'string', default: '240' },
    processes: { type: 'string', default: '6' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    break: { type: 'string' },
  },
  whole: { seconds: 1, processes: 1 },
});

const build = await buildForProcesses();
try {
  if (values.break !== undefined) {
    console.log(`Broken on purpose: ${await breakBuild(build, values.break)}`);
  }
  console.log(
    `Injecting faults for ${values.seconds} s into ${values.processes} processes, seed ${values.seed}`,
  );
  const run = await runFaults({
    seed: values.seed,
    processes: Number(values.processes),
    duration: Number(values.seconds) * 1_000,
    gap: 1_500,
    build,
  });
  console.log(format(tableOf(run)));
  if (run.verdict.findings.length > 0) {
    console.log(`\n${explain(run)}`);
    console.log(
      `\nFAILED. To see it again: npm run verify -- faults --seed ${values.seed} --seconds ${values.seconds} --processes ${values.processes} (the same faults at the same times; what comes of them may differ)`,
    );
    process.exitCode = 1;
  }
} finally {
  await removeBuild();
}
