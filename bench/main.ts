/**
 * `npm run bench -- [--quick] [--pods 8,32] [NAME ...]`: measures locks on a real API server, beside its floor
 * and its peers. `--pods` is for `contention`, which else has crowds of 2 to 128.
 * Exits with 1 if something was wrong, as two holders at once; a target that is not met is a figure and no fault.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildForProcesses, removeBuild } from '../test/build.js';
import { buildPeers } from '../verification/interop/peers.js';
import { startKubeApiserver } from '../verification/kube-apiserver/kube-apiserver.js';
import { callers } from './benches/callers.js';
import { contention } from './benches/contention.js';
import { deadWaiter, takeover } from './benches/deaths.js';
import { handover } from './benches/handover.js';
import { held, leaks, names } from './benches/many-locks.js';
import { cycle, imports, overhead } from './benches/one-process.js';
import { inMarkdown, targetsTable, type Report } from './report.js';
import { Setting, type Bench } from './setting.js';

const BENCHES: Readonly<Record<string, Bench>> = {
  contention,
  callers,
  handover,
  takeover,
  'dead-waiter': deadWaiter,
  held,
  names,
  leaks,
  cycle,
  overhead,
  import: imports,
};

const { values, positionals } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    pods: { type: 'string', default: '2,8,32,128' },
  },
  allowPositionals: true,
});
const unknown = positionals.filter((name) => BENCHES[name] === undefined);
if (unknown.length > 0) {
  console.error(
    `There is no benchmark ${unknown.join(', ')}, but ${Object.keys(BENCHES).join(', ')}.`,
  );
  process.exitCode = 2;
} else {
  await runAll(positionals.length > 0 ? positionals : Object.keys(BENCHES));
}

async function runAll(chosen: readonly string[]): Promise<void> {
  const peers = await buildPeers();
  await using server = await startKubeApiserver();
  const reports: Record<string, Report> = {};
  try {
    const build = await buildForProcesses();
    for (const name of chosen) {
      // oxlint-disable no-await-in-loop -- one after the other: each has the machine for itself
      console.log(`\n== ${name}: ${BENCHES[name]!.about}\n`);
      await using setting = await Setting.prepare(
        server.kubeConfig(),
        build,
        peers,
        { quick: values.quick, crowds: values.pods.split(',').map(Number) },
      );
      const report = await BENCHES[name]!.run(setting).catch(failed);
      reports[name] = report;
      print(report);
      // oxlint-enable no-await-in-loop
    }
  } finally {
    await removeBuild();
  }
  if (Object.values(reports).some(({ faults }) => faults.length > 0)) {
    process.exitCode = 1;
  }
  const folder = fileURLToPath(new URL('../.build', import.meta.url));
  await mkdir(folder, { recursive: true });
  await writeFile(
    `${folder}/performance.json`,
    JSON.stringify(reports, undefined, 2),
  );
}

function failed(error: unknown): Report {
  const fault = error instanceof Error ? error.stack : error;
  return { tables: [], targets: [], faults: [String(fault)] };
}

function print({ tables, targets, faults }: Report): void {
  const judged = targets.length > 0 ? [targetsTable(targets)] : [];
  for (const table of [...tables, ...judged]) {
    console.log(`${inMarkdown(table)}\n`);
  }
  for (const fault of faults.slice(0, 20)) {
    console.log(`FAULT: ${fault}`);
  }
  if (faults.length > 20) {
    console.log(`... and ${faults.length - 20} more faults`);
  }
}
