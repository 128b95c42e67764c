import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes longest: begun last, it would keep one worker busy after the other has ended. */
const isLong = ({ moduleId }: TestSpecification): boolean =>
  /\/(?:cli|package|simulation)\/|\/(?:planned-fires|secrets)\.spec\.ts$/.test(
    moduleId,
  );

class LongestFirst extends BaseSequencer {
  override async sort(
    specs: TestSpecification[],
  ): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- it is the method of Vitest, not of an array
    const sorted = await super.sort(specs);
    return [
      ...sorted.filter(isLong),
      ...sorted.filter((spec) => !isLong(spec)),
    ];
  }
}

export default defineConfig({
  oxc: {
    decorator: { legacy: true, emitDecoratorMetadata: true },
  },
  test: {
    root: new URL('..', import.meta.url).pathname,
    include: [
      'test/**/*.spec.ts',
      // Some seeds, which take seconds.
      'verification/simulation/simulation.spec.ts',
    ],
    // The tests of an application, which are Jest's.
    exclude: ['verification/compatibility/jest-app'],
    globalSetup: ['test/build-setup.ts'],
    // Two more than can run at once: many specs wait for a server or a process.
    maxWorkers: availableParallelism() + 2,
    sequence: { sequencer: LongestFirst },
    // A worker runs one spec after the other, and each begins afresh: see there.
    isolate: false,
    setupFiles: ['test/fresh-start.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // What is compiled already runs as it is, with the packages beside it.
    server: { deps: { external: [/\/\.build\/.*\.js$/] } },
  },
});
