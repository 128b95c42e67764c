/** The figures of a benchmark: computed from samples, and compared with required limits. */
import type { TestContext } from 'vitest';

export interface Figure {
  /** What is measured, in words. */
  readonly what: string;
  readonly value: string;
  /** Undefined: nothing is, it is there to be looked at. */
  readonly required?: string;
  readonly met?: boolean;
}

declare module 'vitest' {
  export interface TaskMeta {
    figures?: Figure[];
  }
}

/** The least sample that is no smaller than this share of all. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return (
    sorted[Math.max(Math.ceil(sorted.length * share) - 1, 0)] ?? Number.NaN
  );
}

export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}

/** Notes a figure for the table. */
export function note({ task }: TestContext, what: string, value: string): void {
  (task.meta.figures ??= []).push({ what, value });
}

/** Of what is measured and of its baseline, in milliseconds. */
type Samples = readonly [measured: number[], baseline: number[]];

/**
 * Notes how two series compare that were measured in turns, in one run.
 *
 * @param most what is required of the ratio of their medians
 * @returns that ratio
 */
export function compare(
  context: TestContext,
  what: string,
  samples: Samples,
  most?: number,
): number {
  return noteAtTwoShares(context, what, samples, RATIO, most);
}

/**
 * Notes by how many microseconds two series differ that were measured in turns, in one run.
 *
 * @param most what is required of the difference of their medians
 * @returns that difference
 */
export function difference(
  context: TestContext,
  what: string,
  samples: Samples,
  most?: number,
): number {
  return noteAtTwoShares(context, what, samples, DIFFERENCE, most);
}

/** A way to put two times in relation. */
interface Relation {
  readonly compute: (a: number, b: number) => number;
  readonly unit: string;
  readonly show: (result: number, a: number, b: number) => string;
}

const RATIO: Relation = {
  compute: (a, b) => a / b,
  unit: 'x',
  show: (ratio, a, b) =>
    `${ratio.toFixed(2)} x  (${milliseconds(a)} / ${milliseconds(b)})`,
};

const DIFFERENCE: Relation = {
  compute: (a, b) => (a - b) * 1_000,
  unit: 'µs',
  show: (microseconds, a, b) =>
    `${microseconds.toFixed(0)} µs  (${(a * 1_000).toFixed(0)} - ${(b * 1_000).toFixed(0)})`,
};

function noteAtTwoShares(
  { task }: TestContext,
  what: string,
  [samples, baseline]: Samples,
  { compute, unit, show }: Relation,
  most: number | undefined,
): number {
  const figures = (task.meta.figures ??= []);
  for (const [name, share] of [
    ['p50', 0.5],
    ['p95', 0.95],
  ] as const) {
    const [a, b] = [percentile(samples, share), percentile(baseline, share)];
    const result = compute(a, b);
    figures.push({
      what: `${what}, ${name}`,
      value: show(result, a, b),
      ...(name === 'p50' &&
        most !== undefined && {
          required: `at most ${most} ${unit}`,
          met: result <= most,
        }),
    });
  }
  return compute(median(samples), median(baseline));
}

export function milliseconds(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 0)} ms`;
}
