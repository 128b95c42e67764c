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
  async importAll(specifiers: string[]): Promise<Cost> {
    const [time, memory] = [monotonic(), process.memoryUsage.rss()];
    for (const specifier of specifiers) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other, as in a module
      await import(specifier);
    }
    return {
      milliseconds: monotonic() - time,
      megabytes: (process.memoryUsage.rss() - memory) / 1e6,
    };
  },
};

export type ImportCostCalls = typeof calls;

answer(calls);
