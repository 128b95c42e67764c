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
