/** What a benchmark finds out, how it is computed from samples, and what is required of it. */
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

/**
 * Notes how two series compare that were measured in turns, in one run.
 *
 * @param most what is required of the ratio of their medians
 * @returns that ratio
 */
export function compare(
  { task }: TestContext,
  what: string,
  [samples, baseline]: readonly [number[], number[]],
  most?: number,
): number {
  const figures = (task.meta.figures ??= []);
  for (const [name, share] of [
    ['p50', 0.5],
    ['p95', 0.95],
  ] as const) {
    const [a, b] = [percentile(samples, share), percentile(baseline, share)];
    figures.push({
      what: `${what}, ${name}`,
      value: `${(a / b).toFixed(2)} x  (${milliseconds(a)} / ${milliseconds(b)})`,
      ...(name === 'p50' &&
        most !== undefined && {
          required: `at most ${most} x`,
          met: a / b <= most,
        }),
    });
  }
  return median(samples) / median(baseline);
}

export function milliseconds(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 0)} ms`;
}
