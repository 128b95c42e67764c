/** The types of the packed package under each TypeScript and module system that applications have. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packBeforeTests, TIMEOUT } from '../../test/package/package-copy.js';
import { JestApp } from './jest-app.js';

const packed = packBeforeTests();
let app: JestApp;
beforeAll(async () => {
  app = await JestApp.create(packed());
}, TIMEOUT);
afterAll(() => app?.[Symbol.asyncDispose]());

describe('the compilers', { timeout: TIMEOUT }, () => {
  const ROWS = [
    ['typescript-5.7', 'nodenext', 'commonjs'],
    ['typescript-5.8', 'node18', 'commonjs'],
    ['typescript', 'node16', 'commonjs'], // 5.9
    ['typescript', 'node18', 'commonjs'],
    ['typescript-6', 'nodenext', 'commonjs'],
    ['typescript-5.7', 'nodenext', 'module'],
    ['typescript', 'node18', 'module'],
  ] as const;

  it.each(ROWS)(
    '%s --module %s accepts the types, in %s',
    async (name, kind, system) => {
      const resolution = kind === 'nodenext' ? kind : 'node16';
      const errors = await app.compile(
        name,
        system,
        '--noEmit',
        '--incremental',
        'false',
        '--module',
        kind,
        '--moduleResolution',
        resolution,
        // `nest new` 11 sets baseUrl, which TypeScript 6 calls deprecated, and names no types, which it takes for none.
        ...(name === 'typescript-6'
          ? ['--ignoreDeprecations', '6.0', '--types', 'node']
          : []),
      );
      expect(errors).toEqual([]);
    },
  );

  it('TypeScript finds nothing in them for somebody who checks libraries, too', async () => {
    const errors = await app.compile(
      'typescript',
      'commonjs',
      '--noEmit',
      '--strict',
      '--skipLibCheck',
      'false',
    );
    expect(errors.filter((error) => error.includes('nestjs-k8s-lock'))).toEqual(
      [],
    );
    expect(errors.filter((error) => error.includes('ws'))).toEqual([]);
  });
});
