/** The packed package in a CommonJS application of Nest 11 with Jest, whose compilers are TypeScript and SWC. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findBlock } from '../../test/docs/pages.js';
import { packBeforeTests, TIMEOUT } from '../../test/package/package-copy.js';
import { JestApp } from './jest-app.js';

const packed = packBeforeTests();
let app: JestApp;
beforeAll(async () => {
  app = await JestApp.create(packed());
}, TIMEOUT);
afterAll(() => app?.[Symbol.asyncDispose]());

describe('Jest, with the settings of nest new', { timeout: TIMEOUT }, () => {
  it('runs the unit tests', async () => {
    expect(await app.test()).toContain('Tests:       9 passed, 9 total');
  });

  it('runs the example of the page on testing', async () => {
    const shown = findBlock('jest').code;
    const run = await readFile(app.path('src/app.testing.spec.ts'), 'utf8');
    expect(shown).toBe(run);
  });

  it('runs the e2e test', async () => {
    const output = await app.test('--config', './test/jest-e2e.json');
    expect(output).toContain('Tests:       4 passed, 4 total');
  });
});

describe(
  'a decorated parameter of type LeaseLock',
  { timeout: TIMEOUT },
  () => {
    const SYSTEMS = ['commonjs', 'module'] as const;
    const RUN = { held: 'nightly-report', isLeaseLock: true };

    it.each(SYSTEMS)(
      'works when tsc has compiled it, in %s',
      async (system) => {
        expect(await app.compile('typescript', system)).toEqual([]);
        expect(await app.start(system)).toEqual(RUN);
      },
    );

    it.each(SYSTEMS)(
      'works when SWC has compiled it, in %s',
      async (system) => {
        await app.compileBySwc(system);
        expect(await app.start(system)).toEqual(RUN);
      },
    );
  },
);

describe('the package', { timeout: TIMEOUT }, () => {
  it('is right for publint', async () => {
    const { code, output } = await app.check(
      'publint/src/cli.js',
      packed().tarball,
      '--strict',
    );
    expect(output).toContain('All good!');
    expect(code).toBe(0);
  });

  it('is right for @arethetypeswrong/cli', async () => {
    const { code, output } = await app.check(
      '@arethetypeswrong/cli/dist/index.js',
      packed().tarball,
    );
    expect(output).toContain('No problems found');
    expect(code).toBe(0);
  });
});
