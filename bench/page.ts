/** Writes what the benchmarks have found out: a page of the manual with a plot, and the same as JSON. */
import { mkdir, writeFile } from 'node:fs/promises';
import { arch, cpus, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { plotContention } from './plot.js';
import { inMarkdown, judge, type Report } from './report.js';

export interface Results {
  readonly machine: Readonly<Record<string, string>>;
  readonly benches: Readonly<Record<string, BenchResult>>;
}

export interface BenchResult extends Report {
  readonly about: string;
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

/** Writes `performance.md` with its plot into one folder, and `performance.json` into another. */
export async function publish(
  results: Results,
  docs: string,
  json: string,
): Promise<void> {
  const { tables = [] } = results.benches.contention ?? {};
  const files: [path: string, text: string][] = [
    [join(docs, 'performance.md'), makePage(results, tables.length > 0)],
    [join(json, 'performance.json'), JSON.stringify(results)],
  ];
  await mkdir(docs, { recursive: true });
  for (const [filepath, text] of files) {
    // oxlint-disable-next-line no-await-in-loop -- two files
    const config = await resolveConfig(filepath);
    // oxlint-disable-next-line no-await-in-loop -- as above
    await writeFile(filepath, await format(text, { ...config, filepath }));
  }
  if (tables[0]) {
    const plot = plotContention(tables[0].rows);
    await writeFile(join(docs, 'performance.svg'), plot);
  }
}

function makePage({ machine, benches }: Results, hasPlot: boolean): string {
  const targets = Object.values(benches).flatMap((bench) => bench.targets);
  return [
    '# Performance',
    'What locks cost, beside raw requests and beside other locks. `npm run bench` writes this page.',
    `All of it was measured in one run. The API server is a real one, on the same machine as everything
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
    ...(hasPlot ? ['![Locks a second under contention](performance.svg)'] : []),
    '## Targets',
    inMarkdown(judge(targets)),
    ...Object.entries(benches).flatMap(([name, bench]) => [
      `## ${name}`,
      bench.about,
      ...bench.tables.flatMap(({ title, rows }) => [
        `${title}:`,
        inMarkdown(rows),
      ]),
      ...bench.faults.slice(0, 10).map((fault) => `- FAULT: ${fault}`),
    ]),
  ].join('\n\n');
}
