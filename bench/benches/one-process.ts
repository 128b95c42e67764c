/** What locks cost one process by itself: against raw writes, against unlocked calls, and to import. */
import type { Cost, ImportCostCalls } from '../programs/import-cost.js';
import type { Samples } from '../programs/in-turns.js';
import type { LockedMethodCalls } from '../programs/locked-method.js';
import type { SoloCalls } from '../programs/solo.js';
import { median, percentile, type Row } from '../report.js';
import type { Bench } from '../setting.js';

const MOST_OF_TWO_PUTS = { most: 1.1, was: 0.95 };

export const cycle: Bench = {
  about:
    'One caller takes and releases a lock that nobody else wants, in turns with raw PUTs of a Lease with managedFields.',

  async run(setting) {
    const rounds = setting.options.quick ? 200 : 1_000;
    const solo = await setting.start<SoloCalls>('bench/programs/solo');
    await solo.call('open', setting.kubeConfigYaml);
    const requests = await solo.call('requestsOfCycle');
    const cycles = await solo.call('cycle', rounds);
    const handovers = await solo.call('localHandover', rounds);
    return {
      tables: [
        {
          title: 'Uncontended, and between two callers of one process',
          rows: [
            compare('lock + unlock / two raw PUTs', cycles),
            compare('release to next caller / one raw PUT', handovers),
          ],
        },
      ],
      targets: [
        {
          what: 'lock + unlock uncontended: requests',
          value: requests,
          most: 2,
        },
        {
          what: 'lock + unlock uncontended / two raw PUTs, p50',
          value: median(cycles[0]) / median(cycles[1]),
          ...MOST_OF_TWO_PUTS,
        },
      ],
      faults: [],
    };
  },
};

/** Microseconds. */
const MOST_OVERHEAD = 100;

export const overhead: Bench = {
  about:
    'A decorated method against one that is not decorated: while each request is answered at once, and, without the time of its requests, on the API server. The latter has the work of the event loop and cold caches in it.',

  async run(setting) {
    const program = await setting.start<LockedMethodCalls>(
      'bench/programs/locked-method',
    );
    const rounds = setting.options.quick ? 500 : 3_000;
    await program.call('open', setting.kubeConfigYaml);
    const between = await program.call('betweenRequests', rounds);
    const atOnce = await program.call('answeredAtOnce', rounds);
    return {
      tables: [
        {
          title: 'A decorated call, beyond its requests',
          rows: [
            { requests: 'answered at once', 'p50 µs': overheadOf(atOnce) },
            { requests: 'to the API server', 'p50 µs': overheadOf(between) },
          ],
        },
      ],
      targets: [
        {
          what: 'a decorated call with requests answered at once, µs',
          value: overheadOf(atOnce),
          most: MOST_OVERHEAD,
        },
      ],
      faults: [],
    };
  },
};

function overheadOf([locked, unlocked]: Samples): number {
  return (median(locked) - median(unlocked)) * 1_000;
}

const PARTS = [
  'reflect-metadata',
  '@nestjs/common',
  '@nestjs/core',
  'nestjs-k8s-lock',
  '@kubernetes/client-node',
];
/** Milliseconds over @nestjs/common. */
const MOST_IMPORT = 60;

export const imports: Bench = {
  about:
    'A fresh process imports Nest, this package, and what its first request loads.',

  async run(setting) {
    const costs: Cost[][] = [];
    for (let round = 0; round < (setting.options.quick ? 3 : 9); round += 1) {
      // oxlint-disable no-await-in-loop -- one after the other
      await using fresh = await setting.start<ImportCostCalls>(
        'bench/programs/import-cost',
      );
      costs.push(await fresh.call('importEach', PARTS));
      // oxlint-enable no-await-in-loop
    }
    const rows = PARTS.map((part, index) => ({
      import: part,
      ms: median(costs.map((round) => round[index]!.milliseconds)),
      MB: median(costs.map((round) => round[index]!.megabytes)),
    }));
    return {
      tables: [{ title: 'Imports, one after the other', rows }],
      targets: [
        {
          what: `import 'nestjs-k8s-lock' over Nest, ms`,
          value: rows[PARTS.indexOf('nestjs-k8s-lock')]!.ms,
          most: MOST_IMPORT,
        },
      ],
      faults: [],
    };
  },
};

function compare(what: string, [measured, baseline]: Samples): Row {
  const of = (share: number): number =>
    percentile(measured, share) / percentile(baseline, share);
  return {
    what,
    'p50 ms': median(measured),
    'baseline p50 ms': median(baseline),
    'p50 ratio': of(0.5),
    'p95 ratio': of(0.95),
  };
}
