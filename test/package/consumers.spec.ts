/** The packed package in applications as `nest new` makes them: it installs, compiles, and runs the README's first example. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConsumerApp, type ConsumerOptions } from './consumer-app.js';
import { PackageCopy, type Packed } from './package-copy.js';

/** For installations with an empty cache, on a busy machine. */
const TIMEOUT = 300_000;

/** The README's job ran in one of two replicas; a lock by hand kept the second out as long as it was held. */
const EXPECTED = {
  ran: 1,
  skipped: 1,
  status: 423,
  isTokenGreater: true,
};

const NEST_OPTIONS = {
  declaration: true,
  removeComments: true,
  emitDecoratorMetadata: true,
  experimentalDecorators: true,
  allowSyntheticDefaultImports: true,
  sourceMap: true,
  incremental: true,
  skipLibCheck: true,
};
const NODENEXT = {
  module: 'nodenext',
  moduleResolution: 'nodenext',
  resolvePackageJsonExports: true,
  esModuleInterop: true,
  isolatedModules: true,
};
/** Of `nest new` 12. */
const NEST_12_OPTIONS = {
  ...NEST_OPTIONS,
  ...NODENEXT,
  target: 'ES2023',
  rootDir: './src',
  strict: true,
  strictPropertyInitialization: false,
  types: ['node'],
};
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

const NEST_12: ConsumerOptions = {
  type: 'module',
  dependencies: {
    '@nestjs/common': '^12.0.1',
    '@nestjs/core': '^12.0.1',
    '@nestjs/platform-express': '^12.0.1',
    '@nestjs/schedule': '^12.0.0',
    '@types/node': '^24.0.0',
    'reflect-metadata': '^0.2.2',
    rxjs: '^7.8.1',
    typescript: '^6.0.2',
  },
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

let copy: PackageCopy;
let packed: Packed;
beforeAll(async () => {
  copy = await PackageCopy.make();
  packed = await copy.pack();
}, TIMEOUT);
afterAll(() => copy?.[Symbol.asyncDispose]());

function install(
  { type, dependencies }: ConsumerOptions,
  more: Record<string, string>,
): Promise<ConsumerApp> {
  return ConsumerApp.create({
    type,
    dependencies: {
      ...dependencies,
      'nestjs-k8s-lock': `file:${packed.tarball}`,
      ...more,
    },
  });
}

function isNotForeign(error: string): boolean {
  return !/^node_modules\/(?!nestjs-k8s-lock\/)/.test(error);
}

function expectExampleRan(lines: string[]): void {
  const jobs = lines.filter((line) => line === 'only one pod prints this');
  expect(jobs).toHaveLength(1);
  expect(JSON.parse(lines.at(-1)!)).toMatchObject(EXPECTED);
}

function expectHealth(lines: string[]): void {
  expect(JSON.parse(lines.at(-1)!)).toEqual(EXPECTED_HEALTH);
}

describe.concurrent('in a fresh application', { timeout: TIMEOUT }, () => {
  it('works with Nest 12, as an ES module', async () => {
    await using app = await install(NEST_12, {
      '@kubernetes/client-node': '^1.4.0',
    });
    expect(await app.compile(NEST_12_OPTIONS)).toEqual([]);
    expectExampleRan(await app.start());
  });

  it('works with Nest 11 and Terminus 11, in CommonJS', async () => {
    await using app = await install(NEST_11, {
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
    await using app = await install(NEST_12, {
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
