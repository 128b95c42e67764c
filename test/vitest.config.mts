import { defineConfig } from 'vitest/config';

export default defineConfig({
  oxc: {
    decorator: { legacy: true, emitDecoratorMetadata: true },
  },
  test: {
    root: new URL('..', import.meta.url).pathname,
    include: [
      'test/**/*.spec.ts',
      // Some hundred seeds, which take seconds.
      'verification/simulation/simulation.spec.ts',
    ],
    // The tests of an application, which are Jest's.
    exclude: ['verification/compatibility/jest-app'],
    globalSetup: ['test/build-setup.ts'],
    maxWorkers: '100%',
    // A worker runs one spec after the other, and each begins afresh: see there.
    isolate: false,
    setupFiles: ['test/fresh-start.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // What is compiled already runs as it is, with the packages beside it.
    server: { deps: { external: [/\/\.build\/.*\.js$/] } },
  },
});
