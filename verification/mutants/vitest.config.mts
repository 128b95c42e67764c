import { defineConfig } from 'vitest/config';
import { exposeSource } from '../../test/mutants/exposed-lib.js';
import test from '../../test/vitest.config.mjs';

/** For one spec, on a lib that the mutant is named by the environment may break: see `in-spec.ts`. */
export default defineConfig({
  ...test,
  plugins: [
    {
      name: 'exposed-lib',
      enforce: 'pre',
      transform: (source, id) =>
        /\/lib\/.*\.ts$/.test(id) ? exposeSource(source) : undefined,
    },
  ],
  test: {
    ...test.test,
    globalSetup: [],
    setupFiles: ['verification/mutants/break.ts'],
  },
});
