import { defineConfig, mergeConfig } from 'vitest/config';
import test from '../test/vitest.config.mjs';

/** As in `npm test`, but with a real API server, and with patience: the suites start processes, and inject faults. */
export default mergeConfig(
  test,
  defineConfig({
    test: {
      include: ['verification/**/*.spec.ts'],
      globalSetup: ['verification/kube-apiserver/global-setup.ts'],
      // What runs beside a suite takes the time from it that its leases count.
      fileParallelism: false,
      isolate: true,
      testTimeout: 120_000,
      hookTimeout: 120_000,
    },
  }),
);
