/** Writes what the benchmarks have found out: a page of the manual with a plot, and the same as JSON. */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { arch, cpus, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { plotContention } from './plot.js';
import { inMarkdown, judge, type Report } from './report.js';

export interface BenchResult extends Report {
  readonly about: string;
  readonly machine: Readonly<Record<string, string>>;
}

/** The last result of each benchmark, by its name. */
type Results = Record<string, BenchResult>;

export interface Folders {
  /** Of `performance.md` and its plot. */
  readonly docs: string;
  /** Of `performance.json`. */
  readonly json: string;
}

/** @param apiServer its version */
export function describeMachine(apiServer: string): Record<string, string> {
  return {
    date: new Date().toISOString().slice(0, 10),
    processors: `${cpus().length} x ${cpus()[0]?.model.trim()}`,
    memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    system: `${type()} ${release()} ${arch()}`,
    'Node.js': process.version,
    'kube-apiserver': apiServer,
  };
}

/** Puts a result in the place of the last one of that benchmark, and writes the page anew. */
export async function publish(
  name: string,
  result: BenchResult,
  { docs, json }: Folders,
): Promise<void> {
  const data = join(json, 'performance.json');
  const results: Results = existsSync(data)
    ? JSON.parse(await readFile(data, 'utf8'))
    : {};
  results[name] = result;
  await write(data, JSON.stringify(results));
  await write(join(docs, 'performance.md'), makePage(results));
  const rows = results.contention?.tables[0]?.rows;
  if (rows) {
    await writeFile(join(docs, 'performance.svg'), plotContention(rows));
  }
}

async function write(filepath: string, text: string): Promise<void> {
  const config = await resolveConfig(filepath);
  await writeFile(filepath, await format(text, { ...config, filepath }));
}

/** Why some targets are not what they were. */
const CORRECTIONS = `A target in brackets was corrected, since it turned out to be out of reach:

- **locks/s beside k8slock, 8 pods.** The prototype of the protocol, which knows no lost answers, no expiry and no other clients, was
  run in the same way on this machine: it came to 2.1 and 1.7 times k8slock. k8slock with a retry of 1 s hands nothing over: one pod
  takes the lock again and again while the others sleep, and get nothing (least/most is 0).
- **requests a lock of 128 pods.** A line of 128 would be as long as all of them, and each write would go to 128 watches: an earlier
  version had 9 locks/s, some pods got none. Now 32 are in line, and the others look for room once a second.
- **handover.** The raw PUT has its body ready, and does nothing with the event. Of the rest, 0.4 ms are the system call that sends the
  request, and about 1 ms is what Node.js and this package do with a request, an answer and an event.
- **lock + unlock.** Two raw PUTs of a Lease with managedFields take as long as two without plus the work of this package.`;

function makePage(results: Results): string {
  const benches = Object.entries(results);
  const { machine } = benches.at(-1)![1];
  return [
    '# Performance',
    'What locks cost, beside raw requests and beside other locks. `npm run bench` writes this page.',
    `Each section was measured in one run. The API server is a real one, on the same machine as everything
else, with an etcd that does not flush to disk. Each pod has a client identity and connections of its
own; up to 32 pods share a process. Peers take turns with this package, and medians of the rounds are
shown. Times depend on the machine: compare within a table. A contention in which two hold the lock at
once, or in which a fencing token does not rise, fails the run.`,
    inMarkdown(
      Object.entries(machine).map(([what, value]) => ({
        machine: what,
        value,
      })),
    ),
    ...(results.contention
      ? ['![Locks a second under contention](performance.svg)']
      : []),
    '## Targets',
    inMarkdown(benches.flatMap(([, bench]) => judge(bench.targets))),
    CORRECTIONS,
    ...benches.flatMap(([name, bench]) => [
      `## ${name}`,
      `${bench.about} Measured on ${bench.machine.date}.`,
      ...bench.tables.flatMap(({ title, rows }) => [
        `${title}:`,
        inMarkdown(rows),
      ]),
      ...bench.faults.slice(0, 10).map((fault) => `- FAULT: ${fault}`),
    ]),
  ].join('\n\n');
}
