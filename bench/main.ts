/**
 * Measures locks on a real API server, beside its floor and its peers.
 * Exits with 1 if something was wrong, as two holders at once; a target that is not met is a figure and no fault.
 */
import { fileURLToPath } from 'node:url';
import { buildForProcesses, removeBuild } from '../test/build.js';
import { KubeClient } from '../test/kube-client.js';
import { readArguments, refuse } from '../verification/arguments.js';
import { buildPeers } from '../verification/interop/peers.js';
import { startKubeApiserver } from '../verification/kube-apiserver/kube-apiserver.js';
import { callers } from './benches/callers.js';
import { contention } from './benches/contention.js';
import { deadWaiter, takeover } from './benches/deaths.js';
import { handover } from './benches/handover.js';
import { leader } from './benches/leader.js';
import { held, leaks, names } from './benches/many-locks.js';
import { cycle, imports, overhead } from './benches/one-process.js';
import { semaphore } from './benches/semaphore.js';
import { describeMachine, publish, type Folders } from './page.js';
import { inMarkdown, judge, type Report } from './report.js';
import { Setting, type Bench } from './setting.js';

const BENCHES: Readonly<Record<string, Bench>> = {
  contention,
  callers,
  semaphore,
  handover,
  leader,
  takeover,
  'dead-waiter': deadWaiter,
  held,
  names,
  leaks,
  cycle,
  overhead,
  import: imports,
};

const USAGE = `Usage: npm run bench -- [--quick] [--publish] [--pods 8,32] [NAME ...]

Runs the benchmarks that are named, or all: ${Object.keys(BENCHES).join(', ')}.
--quick takes a fraction of the time. --pods is for contention, which else has crowds of 2 to 128.
A run of all, without options, writes docs/performance.md, and so does --publish for the benchmarks that are
named; other runs write the same into .build.`;

const { values, positionals } = readArguments({
  usage: USAGE,
  options: {
    quick: { type: 'boolean', default: false },
    publish: { type: 'boolean', default: false },
    pods: { type: 'string', default: '2,8,32,128' },
  },
  allowPositionals: true,
});
const root = fileURLToPath(new URL('..', import.meta.url));
const crowds = values.pods.split(',').map(Number);
const mistakes = [
  ...positionals
    .filter((name) => BENCHES[name] === undefined)
    .map(
      (name) =>
        `There is no benchmark ${name}, but ${Object.keys(BENCHES).join(', ')}.`,
    ),
  ...(crowds.every((pods) => Number.isInteger(pods) && pods > 1)
    ? []
    : [
        `--pods is "${values.pods}", but must be numbers of 2 or more, as 8,32.`,
      ]),
];
if (mistakes.length > 0) {
  refuse(USAGE, mistakes);
}
const isWhole = positionals.length === 0 && !values.quick;
await runAll(
  isWhole || values.publish
    ? { docs: `${root}docs`, json: `${root}bench` }
    : { docs: `${root}.build`, json: `${root}.build` },
);

async function runAll(folders: Folders): Promise<void> {
  const peers = await buildPeers();
  await using server = await startKubeApiserver();
  const admin = new KubeClient(server.kubeConfig());
  const version = await admin.request<{ gitVersion: string }>(
    'GET',
    '/version',
  );
  const machine = describeMachine(version.body.gitVersion);
  const all = Object.keys(BENCHES);
  try {
    const build = await buildForProcesses();
    for (const name of positionals.length > 0 ? positionals : all) {
      const bench = BENCHES[name]!;
      console.log(`\n== ${name}: ${bench.about}\n`);
      // oxlint-disable no-await-in-loop -- one after the other: each has the machine for itself
      await using setting = await Setting.prepare(
        server.kubeConfig(),
        build,
        peers,
        { quick: values.quick, crowds },
      );
      const report = await bench.run(setting).catch(failed);
      print(report);
      await publish(name, { about: bench.about, machine, ...report }, folders);
      // oxlint-enable no-await-in-loop
      if (report.faults.length > 0) {
        process.exitCode = 1;
      }
    }
  } finally {
    await removeBuild();
  }
}

function failed(error: unknown): Report {
  const fault = error instanceof Error ? error.stack : error;
  return { tables: [], targets: [], faults: [String(fault)] };
}

function print({ tables, targets, faults }: Report): void {
  for (const { title, rows } of tables) {
    console.log(`${title}:\n\n${inMarkdown(rows)}\n`);
  }
  if (targets.length > 0) {
    console.log(`${inMarkdown(judge(targets))}\n`);
  }
  for (const fault of faults.slice(0, 20)) {
    console.log(`FAULT: ${fault}`);
  }
  if (faults.length > 20) {
    console.log(`... and ${faults.length - 20} more faults`);
  }
}
