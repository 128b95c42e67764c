/** A process that tells what an import costs it. */
import {
  answer,
  monotonic,
} from '../../verification/processes/programs/calls.js';

export interface Cost {
  milliseconds: number;
  /** Of resident memory. */
  megabytes: number;
}

const calls = {
  /** Imports one after the other, as in a module. */
  async importEach(specifiers: string[]): Promise<Cost[]> {
    const costs: Cost[] = [];
    for (const specifier of specifiers) {
      const [time, memory] = [monotonic(), process.memoryUsage.rss()];
      // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
      await import(specifier);
      costs.push({
        milliseconds: monotonic() - time,
        megabytes: (process.memoryUsage.rss() - memory) / 1e6,
      });
    }
    return costs;
  },
};

export type ImportCostCalls = typeof calls;

answer(calls);
