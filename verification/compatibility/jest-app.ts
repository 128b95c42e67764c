/** An application of Nest 11 as `nest new` makes it, with the packed package beside its locked packages. */
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { obtainPackages } from '../../test/package/installed-packages.js';
import type { Packed } from '../../test/package/package-copy.js';
import { Program, type Ended } from '../../test/package/program.js';

const SOURCE = fileURLToPath(new URL('jest-app', import.meta.url));

/** Their files are there to be copied into an application. */
const SAMPLES = fileURLToPath(new URL('../../sample', import.meta.url));

/** What an ES module of it needs. */
const PROGRAM = ['main.ts', 'app.service.ts'];

/** What is used of `@swc/core`. */
interface Swc {
  readonly transformFile: (
    path: string,
    options: object,
  ) => Promise<{ readonly code: string }>;
}

export type ModuleSystem = 'commonjs' | 'module';

export class JestApp implements AsyncDisposable {
  private constructor(
    private readonly packages: string,
    private readonly folder: string,
  ) {}

  static async create(packed: Packed): Promise<JestApp> {
    const packages = await obtainPackages(SOURCE);
    // Below the packages, where Node.js and all compilers look for them.
    const app = new JestApp(packages, await mkdtemp(join(packages, 'app-')));
    const own = app.path('node_modules/nestjs-k8s-lock');
    await mkdir(own, { recursive: true });
    await Promise.all([
      cp(SOURCE, app.folder, { recursive: true }),
      cp(SAMPLES, app.path('src/samples'), {
        recursive: true,
        filter: (path) => !path.startsWith(join(SAMPLES, 'demo')),
      }),
      new Program(
        'tar',
        ['-xzf', packed.tarball, '-C', own, '--strip-components=1'],
        { cwd: app.folder },
      ).succeeds(),
    ]);
    await app.writeModules();
    return app;
  }

  /** Runs Jest with the settings of the application. */
  async test(...args: string[]): Promise<string> {
    return this.node([this.find('jest/bin/jest.js'), ...args]).succeeds();
  }

  /**
   * Compiles with a version of TypeScript; resolves with the errors.
   *
   * @param typescript the name of its package
   */
  async compile(
    typescript: string,
    system: ModuleSystem,
    ...options: string[]
  ): Promise<string[]> {
    const compiler = this.find(`${typescript}/bin/tsc`);
    const project = join(this.root(system), 'tsconfig.build.json');
    const args = ['-p', project, '--pretty', 'false', ...options];
    const { code, output } = await this.node([compiler, ...args]).end();
    const errors = output
      .split('\n')
      .filter((line) => line.includes('error TS'));
    if (code !== 0 && errors.length === 0) {
      throw new Error(output);
    }
    return errors;
  }

  /** Compiles with SWC, which knows one file at a time. */
  async compileBySwc(system: ModuleSystem): Promise<void> {
    const { transformFile }: Swc = createRequire(
      join(this.packages, 'package.json'),
    )('@swc/core');
    for (const name of PROGRAM) {
      const source = join(this.root(system), 'src', name);
      // oxlint-disable-next-line no-await-in-loop -- a few small files
      const { code } = await transformFile(source, {
        jsc: {
          target: 'es2022',
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true },
        },
        module: { type: system === 'module' ? 'es6' : 'commonjs' },
      });
      const target = join(
        this.root(system),
        'dist',
        name.replace('.ts', '.js'),
      );
      // oxlint-disable-next-line no-await-in-loop -- as above
      await mkdir(dirname(target), { recursive: true });
      // oxlint-disable-next-line no-await-in-loop -- as above
      await writeFile(target, code);
    }
  }

  /** Runs what was compiled; resolves with what it printed. */
  async start(system: ModuleSystem): Promise<unknown> {
    const output = await this.node([
      join(this.root(system), 'dist/main.js'),
    ]).succeeds();
    return JSON.parse(output);
  }

  /** Runs a program that comes with a package, such as publint, on this file or folder. */
  async check(program: string, ...args: string[]): Promise<Ended> {
    return this.node([this.find(program), ...args]).end();
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** The same program as an ES module, which names files with their ends. */
  private async writeModules(): Promise<void> {
    const root = this.root('module');
    await mkdir(join(root, 'src'), { recursive: true });
    await writeFile(join(root, 'package.json'), '{ "type": "module" }');
    await Promise.all(
      ['tsconfig.json', 'tsconfig.build.json'].map((name) =>
        cp(this.path(name), join(root, name)),
      ),
    );
    for (const name of PROGRAM) {
      // oxlint-disable-next-line no-await-in-loop -- a few small files
      const text = await readFile(this.path(`src/${name}`), 'utf8');
      const code = text.replace(/(?<=from '\.[^']+)(?=')/g, '.js');
      // oxlint-disable-next-line no-await-in-loop -- as above
      await writeFile(join(root, 'src', name), code);
    }
  }

  private root(system: ModuleSystem): string {
    return system === 'module' ? this.path('as-module') : this.folder;
  }

  private find(path: string): string {
    return join(this.packages, 'node_modules', path);
  }

  private node(args: readonly string[]): Program {
    return new Program(process.execPath, args, {
      cwd: this.folder,
      // Those of this test, and of the Vitest around it, are not for Jest.
      env: { NODE_ENV: 'test', NODE_OPTIONS: '', VITEST: undefined },
    });
  }
}
