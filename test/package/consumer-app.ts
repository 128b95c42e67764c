/** A fresh Nest application in a folder of its own, which installs the packed package as any user would. */
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findBlock } from '../docs/pages.js';
import { Program } from './program.js';

/** What lies beside the README's example in each, and what in those with Terminus. */
const SOURCES = fileURLToPath(new URL('consumer', import.meta.url));
const HEALTH_SOURCES = fileURLToPath(
  new URL('consumer-health', import.meta.url),
);

const MAIN = `import 'reflect-metadata';
import { AppModule } from './quick-start.js';
import { runExample } from './run-example.js';

void runExample(AppModule);
`;

export interface ConsumerOptions {
  /** The module system, in package.json. */
  readonly type: 'module' | 'commonjs';
  readonly dependencies: Readonly<Record<string, string>>;
}

export type CompilerOptions = Readonly<Record<string, unknown>>;

export class ConsumerApp implements AsyncDisposable {
  private constructor(private readonly folder: string) {}

  /** Installs from the registry, or from npm's cache what is there. */
  static async create(options: ConsumerOptions): Promise<ConsumerApp> {
    const app = new ConsumerApp(
      await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-consumer-')),
    );
    try {
      await app.install(options);
      return app;
    } catch (error) {
      await app[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Compiles to dist/ with the application's own TypeScript; resolves with the errors. */
  async compile(compilerOptions: CompilerOptions): Promise<string[]> {
    await rm(this.path('dist'), { recursive: true, force: true });
    await this.write('tsconfig.json', {
      compilerOptions: { ...compilerOptions, outDir: './dist' },
      include: ['src'],
    });
    const { output } = await this.run('npx', 'tsc', '-p', '.').end();
    return output.split('\n').filter((line) => / error TS\d+: /.test(line));
  }

  /** Runs a program of what was compiled; resolves with the lines that it printed. */
  async start(
    node = process.execPath,
    program: 'main' | 'health' = 'main',
  ): Promise<string[]> {
    const output = await this.run(node, `dist/${program}.js`).succeeds();
    return output.trimEnd().split('\n');
  }

  /** Runs what was compiled, until it has printed this. */
  async printsAtStart(pattern: RegExp): Promise<void> {
    await using program = this.run(process.execPath, 'dist/main.js');
    await program.prints(pattern);
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  private async install(options: ConsumerOptions): Promise<void> {
    const sources = [
      SOURCES,
      ...('@nestjs/terminus' in options.dependencies ? [HEALTH_SOURCES] : []),
    ];
    for (const folder of sources) {
      await cp(folder, this.path('src'), { recursive: true });
    }
    await Promise.all([
      this.write('package.json', {
        name: 'consumer',
        private: true,
        ...options,
      }),
      this.write('src/quick-start.ts', findBlock('quick-start').code),
      this.write('src/main.ts', MAIN),
    ]);
    const flags = ['--prefer-offline', '--no-audit', '--no-fund'];
    await this.run('npm', 'install', ...flags).succeeds();
  }

  private run(command: string, ...args: string[]): Program {
    return new Program(command, args, { cwd: this.folder });
  }

  private write(name: string, content: unknown): Promise<void> {
    return writeFile(
      this.path(name),
      typeof content === 'string' ? content : JSON.stringify(content, null, 2),
    );
  }
}
