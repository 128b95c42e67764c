/** The packed package in an application as `nest new` makes it: it installs, compiles, and runs the README's first example. */
import { describe, expect, it } from 'vitest';
import {
  expectExampleRan,
  installIn,
  NEST_12,
  NEST_12_OPTIONS,
} from './fresh-applications.js';
import { packBeforeTests, TIMEOUT } from './package-copy.js';

const packed = packBeforeTests();

describe('in a fresh application', { timeout: TIMEOUT }, () => {
  it('works with Nest 12, as an ES module', async () => {
    await using app = await installIn(packed(), NEST_12, {
      '@kubernetes/client-node': '^1.4.0',
    });
    expect(await app.compile(NEST_12_OPTIONS)).toEqual([]);
    expectExampleRan(await app.start());
  });
});
