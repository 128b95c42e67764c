/** The entries of the built package where the optional peers are not installed: they load, and their types ask for nothing. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildFolder } from '../support/build-folder.js';

const run = promisify(execFile);

const PEERS = ['@opentelemetry/api', '@nestjs/terminus'];

/** Makes a process in which the peers can't be found. */
const HOOKS = `
  export async function resolve(specifier, context, next) {
    if (${JSON.stringify(PEERS)}.some((peer) => specifier.startsWith(peer))) {
      throw Object.assign(new Error('refused ' + specifier), { code: 'ERR_MODULE_NOT_FOUND' });
    }
    return next(specifier, context);
  }`;

const ENTRIES = [
  ['index.js', 'LockService'],
  ['testing/index.js', 'LeaseApiServer'],
  ['telemetry/index.js', 'K8sLockTelemetryModule'],
  ['health/index.js', 'LockHealthIndicator'],
  ['leader/index.js', 'LeaderElectionModule'],
  ['dashboard/index.js', 'K8sLockDashboardModule'],
] as const;

describe('without the optional peers', () => {
  /** What each import has come to, by what was imported. */
  let outcomes: Record<string, unknown>;
  beforeAll(async () => {
    const attempts = [
      ...PEERS.map((peer) => [peer, `import('${peer}')`]),
      ...ENTRIES.map(([entry]) => [entry, load(entry)]),
    ].map(
      ([what, promise]) =>
        `'${what}': await ${promise}.then(Object.keys, (error) => error.message)`,
    );
    outcomes = await evaluate(`(async () => ({ ${attempts.join()} }))()`);
  });

  it.each(PEERS)(
    '%s can not be loaded, so that this shows something',
    (peer) => {
      expect(outcomes).toHaveProperty([peer], `refused ${peer}`);
    },
  );

  it.each(ENTRIES)('%s loads', (entry, name) => {
    expect(outcomes[entry]).toEqual(expect.arrayContaining([name]));
  });

  it('the telemetry module says what is missing, and the application does not start', async () => {
    const message = await evaluate(`(async () => {
      const { NestFactory } = await import('@nestjs/core');
      const { K8sLockModule } = await ${load('index.js')};
      const { K8sLockTelemetryModule } = await ${load('telemetry/index.js')};
      const imports = [
        K8sLockModule.forRoot({ verifyAtStartup: false }),
        K8sLockTelemetryModule.forRoot(),
      ];
      return NestFactory.createApplicationContext(
        { module: class Root {}, imports },
        { logger: false, abortOnError: false },
      ).then(() => 'started', (error) => error.message);
    })()`);
    expect(message).toContain('needs the package @opentelemetry/api');
  });
});

describe('the types', () => {
  it.each([
    ['index.d.ts', PEERS],
    ['testing/index.d.ts', PEERS],
    ['health/index.d.ts', PEERS],
    ['leader/index.d.ts', PEERS],
    ['telemetry/index.d.ts', ['@nestjs/terminus']],
  ])('of %s do not need what is optional', async (entry, refused) => {
    const types = await readTypes(join(findDist(), entry));
    expect(types.size).toBeGreaterThan(0);
    const leaks = [...types].filter(([, text]) =>
      refused.some((peer) => new RegExp(`['"]${peer}`).test(text)),
    );
    expect(leaks.map(([path]) => path)).toEqual([]);
  });
});

function findDist(): string {
  return join(buildFolder(), 'dist');
}

function load(entry: string): string {
  return `import('${pathToFileURL(join(findDist(), entry)).href}')`;
}

/** What a promise resolves with, in such a process. */
async function evaluate<T>(promise: string): Promise<T> {
  const program = `
    import { Module, register } from 'node:module';
    const load = Module.prototype.require;
    Module.prototype.require = function (specifier) {
      if (${JSON.stringify(PEERS)}.some((peer) => specifier.startsWith(peer))) {
        throw new Error('refused ' + specifier);
      }
      return load.call(this, specifier);
    };
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(HOOKS)}));
    console.log(JSON.stringify(await ${promise}));`;
  const { stdout } = await run(
    process.execPath,
    ['--input-type=module', '--eval', program],
    { cwd: findDist() },
  );
  return JSON.parse(stdout);
}

/** The declarations that an entry leads to. */
async function readTypes(
  path: string,
  found = new Map<string, string>(),
): Promise<Map<string, string>> {
  if (!found.has(path)) {
    const text = await readFile(path, 'utf8');
    found.set(path, text);
    for (const [, target = ''] of text.matchAll(
      /['"](\.{1,2}\/.*?)\.js['"]/g,
    )) {
      // oxlint-disable-next-line no-await-in-loop -- each may be reached by several ways
      await readTypes(join(dirname(path), `${target}.d.ts`), found);
    }
  }
  return found;
}
