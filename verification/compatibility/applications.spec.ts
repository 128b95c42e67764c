/** The packed package in fresh applications of other versions: of Nest 11, in CommonJS, and with client-node 2. */
import { describe, expect, it } from 'vitest';
import type { ConsumerOptions } from '../../test/package/consumer-app.js';
import {
  expectExampleRan,
  installIn,
  NEST_12,
  NEST_12_OPTIONS,
  NEST_OPTIONS,
  NODENEXT,
} from '../../test/package/fresh-applications.js';
import { packBeforeTests, TIMEOUT } from '../../test/package/package-copy.js';

/** Of `nest new` 11 in its first form, as of 10: resolves as Node 10 did, and knows nothing of `exports`. */
const NEST_11_FIRST_OPTIONS = {
  ...NEST_OPTIONS,
  module: 'commonjs',
  target: 'ES2021',
  baseUrl: './',
  strictNullChecks: true,
  forceConsistentCasingInFileNames: true,
  noImplicitAny: true,
  strictBindCallApply: true,
  noFallthroughCasesInSwitch: true,
};
/** Of `nest new` 11 in its last form. */
const NEST_11_OPTIONS = {
  ...NEST_11_FIRST_OPTIONS,
  ...NODENEXT,
  target: 'ES2023',
};

const NEST_11: ConsumerOptions = {
  type: 'commonjs',
  dependencies: {
    ...NEST_12.dependencies,
    '@nestjs/common': '^11.0.1',
    '@nestjs/core': '^11.0.1',
    '@nestjs/platform-express': '^11.0.1',
    '@nestjs/schedule': '^6.0.0',
    typescript: '^5.7.3',
  },
};

/** Of Terminus, while the API server answers and when it can't be reached. */
const EXPECTED_HEALTH = [
  { status: 200, locks: { status: 'up', apiServer: 'up' } },
  {
    status: 503,
    locks: { status: 'down', apiServer: 'down', reason: 'network' },
  },
];

/** client-node 2 needs Node 22, whose binary is to be had as a package. */
const NEEDS_NEWER_NODE = Number.parseInt(process.versions.node) < 22;
const NEWER_NODE = `node-${process.platform}-${process.arch}`;

const packed = packBeforeTests();

function isNotForeign(error: string): boolean {
  return !/^node_modules\/(?!nestjs-k8s-lock\/)/.test(error);
}

function expectHealth(lines: string[]): void {
  expect(JSON.parse(lines.at(-1)!)).toEqual(EXPECTED_HEALTH);
}

describe('in a fresh application', { timeout: TIMEOUT }, () => {
  it('works with Nest 11 and Terminus 11, in CommonJS', async () => {
    await using app = await installIn(packed(), NEST_11, {
      '@kubernetes/client-node': '^1.4.0',
      '@nestjs/terminus': '^11.0.0',
    });
    // Its types are right by themselves, and for somebody stricter. Those of others need not be.
    const errors = await app.compile({
      ...NEST_11_OPTIONS,
      strict: true,
      skipLibCheck: false,
    });
    expect(errors.filter(isNotForeign)).toEqual([]);
    expectExampleRan(await app.start());
    expectHealth(await app.start(process.execPath, 'health'));

    expect(await app.compile(NEST_11_FIRST_OPTIONS)).toEqual([]);
    expectExampleRan(await app.start());
    expectHealth(await app.start(process.execPath, 'health'));
  });

  it('works with client-node 2 on a newer Node, and says so on an older one', async () => {
    await using app = await installIn(packed(), NEST_12, {
      '@kubernetes/client-node': '^2.0.0',
      ...(NEEDS_NEWER_NODE && { [NEWER_NODE]: '24' }),
    });
    expect(await app.compile(NEST_12_OPTIONS)).toEqual([]);
    if (NEEDS_NEWER_NODE) {
      await app.printsAtStart(/client-node 2\S+ needs Node\.js 22 or newer/g);
    }
    const node = NEEDS_NEWER_NODE
      ? app.path(`node_modules/${NEWER_NODE}/bin/node`)
      : process.execPath;
    expectExampleRan(await app.start(node));
  });
});
