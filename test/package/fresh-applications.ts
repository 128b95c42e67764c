/** Applications as `nest new` makes them, which install the packed package and run the README's first example. */
import { expect } from 'vitest';
import { ConsumerApp, type ConsumerOptions } from './consumer-app.js';
import type { Packed } from './package-copy.js';

/** The README's job ran in one of two replicas; a lock by hand kept the second out as long as it was held. */
const EXPECTED = {
  ran: 1,
  skipped: 1,
  status: 423,
  isTokenGreater: true,
};

export const NEST_OPTIONS = {
  declaration: true,
  removeComments: true,
  emitDecoratorMetadata: true,
  experimentalDecorators: true,
  allowSyntheticDefaultImports: true,
  sourceMap: true,
  incremental: true,
  skipLibCheck: true,
};
export const NODENEXT = {
  module: 'nodenext',
  moduleResolution: 'nodenext',
  resolvePackageJsonExports: true,
  esModuleInterop: true,
  isolatedModules: true,
};
/** Of `nest new` 12. */
export const NEST_12_OPTIONS = {
  ...NEST_OPTIONS,
  ...NODENEXT,
  target: 'ES2023',
  rootDir: './src',
  strict: true,
  strictPropertyInitialization: false,
  types: ['node'],
};

export const NEST_12: ConsumerOptions = {
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

export function installIn(
  packed: Packed,
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

export function expectExampleRan(lines: string[]): void {
  const jobs = lines.filter((line) => line === 'only one pod prints this');
  expect(jobs).toHaveLength(1);
  expect(JSON.parse(lines.at(-1)!)).toMatchObject(EXPECTED);
}
