/** Simulates seeds. The first that fails is simulated again, and its timeline printed. Exits with 1 when a seed has failed. */
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { readArguments, refuse } from '../arguments.js';
import { KINDS, type Kind } from './scenario-kinds.js';
import {
  catchUnhandledRejections,
  simulate,
  type Outcome,
} from './simulation.js';
import { COUNTED, Statistics } from './statistics.js';

const USAGE = `Usage: npm run verify -- simulation [--seeds 1000] [--from 1] [--workers 2] [--kind KIND]
       npm run verify -- simulation --seed N [--kind KIND]

Simulates seeds on all cores, or with --workers 0 in the main thread: of one kind of scenarios (${KINDS.join(', ')}),
or of locks and some of each other kind. --seed prints the timeline of one.`;

/** Seeds that a worker is given at a time. */
const BATCH = 20;
/** As many seeds of locks are simulated for one of another kind. */
const LOCKS_PER_OTHER = 25;

interface Batch {
  readonly kind: Kind;
  readonly seeds: readonly number[];
}

interface Totals {
  seeds: number;
  steps: number;
  virtualTime: number;
  readonly statistics: Statistics;
  /** The failed run of the smallest seed. */
  failed: Outcome | undefined;
}

if (isMainThread) {
  await main();
} else {
  work();
}

/** A worker simulates the seeds that it is sent, one batch after the other, and sends back what came of them. */
function work(): void {
  catchUnhandledRejections();
  parentPort?.on('message', ({ kind, seeds }: Batch) => {
    void (async () => {
      const outcomes: Outcome[] = [];
      for (const seed of seeds) {
        // oxlint-disable-next-line no-await-in-loop -- the simulator has one virtual time
        outcomes.push(await simulate(seed, { kind }));
      }
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
      parentPort?.postMessage(outcomes);
    })();
  });
}

async function main(): Promise<void> {
  const { values } = readArguments({
    usage: USAGE,
    options: {
      seeds: { type: 'string', default: '1000' },
      from: { type: 'string', default: '1' },
      workers: { type: 'string', default: String(availableParallelism()) },
      kind: { type: 'string' },
      seed: { type: 'string' },
    },
    whole: { seeds: 1, from: 0, workers: 0, seed: 0 },
  });
  const only = KINDS.find((kind) => kind === values.kind);
  if (values.kind !== undefined && only === undefined) {
    refuse(USAGE, [
      `--kind is "${values.kind}", but must be one of ${KINDS.join(', ')}.`,
    ]);
  }
  if (values.seed !== undefined) {
    catchUnhandledRejections();
    const outcome = await simulate(Number(values.seed), {
      kind: only,
      withTimeline: true,
    });
    print(outcome);
    process.exitCode = outcome.findings.length > 0 ? 1 : 0;
    return;
  }
  const startedAt = performance.now();
  const from = Number(values.from);
  const seeds = Number(values.seeds);
  const batches = (only ? [only] : KINDS).flatMap((kind) =>
    batchesOf(
      kind,
      from,
      only || kind === 'locks' ? seeds : Math.ceil(seeds / LOCKS_PER_OTHER),
    ),
  );
  const totals = await simulateAll(batches, Number(values.workers));
  const seconds = (performance.now() - startedAt) / 1_000;
  const { failed } = totals;
  report(totals, seconds);
  if (failed) {
    catchUnhandledRejections();
    const { kind } = failed;
    print(await simulate(failed.seed, { kind, withTimeline: true }));
  }
  process.exitCode = failed ? 1 : 0;
}

function batchesOf(kind: Kind, from: number, count: number): Batch[] {
  return Array.from({ length: Math.ceil(count / BATCH) }, (_, batch) => {
    const first = from + batch * BATCH;
    const length = Math.min(BATCH, from + count - first);
    return { kind, seeds: Array.from({ length }, (__, i) => first + i) };
  });
}

/** Simulates the seeds in order, and stops soon after the first failure. */
async function simulateAll(
  batches: readonly Batch[],
  workers: number,
): Promise<Totals> {
  const totals: Totals = {
    seeds: 0,
    steps: 0,
    virtualTime: 0,
    statistics: new Statistics(),
    failed: undefined,
  };
  const left = [...batches];
  const nextBatch = (): Batch | undefined =>
    totals.failed ? undefined : left.shift();
  if (workers === 0) {
    catchUnhandledRejections();
    for (let batch; (batch = nextBatch());) {
      const { kind, seeds } = batch;
      for (const seed of seeds) {
        // oxlint-disable-next-line no-await-in-loop -- the simulator has one virtual time
        add(totals, await simulate(seed, { kind }));
      }
    }
    return totals;
  }
  await Promise.all(
    Array.from({ length: workers }, () =>
      employ(nextBatch, (outcome) => add(totals, outcome)),
    ),
  );
  return totals;
}

/** Gives batches to a worker of its own until there are none left. */
function employ(
  nextBatch: () => Batch | undefined,
  take: (outcome: Outcome) => void,
): Promise<void> {
  const worker = new Worker(fileURLToPath(import.meta.url));
  return new Promise((resolve, reject) => {
    const sendNext = (): void => {
      const batch = nextBatch();
      if (batch === undefined) {
        void worker.terminate().then(() => resolve());
      } else {
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
        worker.postMessage(batch);
      }
    };
    worker.on('message', (outcomes: Outcome[]) => {
      outcomes.forEach(take);
      sendNext();
    });
    worker.on('error', reject);
    sendNext();
  });
}

function add(totals: Totals, outcome: Outcome): void {
  totals.seeds += 1;
  totals.steps += outcome.steps;
  totals.virtualTime += outcome.duration;
  totals.statistics.add(outcome.statistics);
  const { failed } = totals;
  const isFirst = !(
    failed?.kind === outcome.kind && failed.seed < outcome.seed
  );
  if (outcome.findings.length > 0 && isFirst) {
    totals.failed = outcome;
  }
}

function report(totals: Totals, seconds: number): void {
  const { seeds, steps, virtualTime, statistics } = totals;
  const rate = (seeds / seconds).toFixed(0);
  console.log(
    `${seeds} seeds in ${seconds.toFixed(1)} s (${rate} seeds/s): ${steps} events, ${(virtualTime / 3_600_000).toFixed(1)} hours of virtual time`,
  );
  for (const what of COUNTED) {
    console.log(`${String(statistics.get(what)).padStart(10)} ${what}`);
  }
}

function print({ kind, seed, timeline, findings }: Outcome): void {
  const options = kind === 'locks' ? '' : `--kind ${kind} `;
  console.log(timeline.join('\n'));
  console.log(
    findings.length === 0
      ? `Seed ${seed} passes.`
      : `Seed ${seed} fails:\n${findings.map(({ check, text }) => `- ${check}: ${text}`).join('\n')}\nTo see it again: npm run verify -- simulation ${options}--seed ${seed}`,
  );
}
