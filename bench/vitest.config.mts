import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    include: ['bench/*.bench.ts'],
    globalSetup: [
      'verification/kube-apiserver/global-setup.ts',
      'test/build-setup.ts',
    ],
    reporters: ['default', 'bench/figures-reporter.ts'],
    // One thing at a time: what is measured must not be another benchmark's load.
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 120_000,
  },
});
