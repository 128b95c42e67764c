/** A copy of what makes the package, in a folder of its own: built and packed there, it disturbs nobody. */
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll } from 'vitest';
import { Program } from './program.js';

/** For a build and an installation with an empty cache, on a busy machine. */
export const TIMEOUT = 300_000;

const root = fileURLToPath(new URL('../..', import.meta.url));

const SOURCES = [
  'deploy',
  'lib',
  'package.json',
  'tsconfig.json',
  'CHANGELOG.md',
  'LICENSE',
  'README.md',
  'SECURITY.md',
  'docs',
];

/** A file that ships. */
export interface PackedFile {
  readonly path: string;
  /** In bytes. */
  readonly size: number;
}

/** What `npm pack` has made. */
export interface Packed {
  /** The path of the tarball. */
  readonly tarball: string;
  readonly files: readonly PackedFile[];
  /** In bytes: of the tarball, and of what is in it. */
  readonly size: number;
  readonly unpackedSize: number;
}

export class PackageCopy implements AsyncDisposable {
  private constructor(readonly folder: string) {}

  /** @param more files and folders to copy beside those that the package is made of */
  static async make(...more: string[]): Promise<PackageCopy> {
    const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-'));
    const copies = [...SOURCES, ...more].map((name) =>
      cp(join(root, name), join(folder, name), { recursive: true }),
    );
    await Promise.all(copies);
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    return new PackageCopy(folder);
  }

  /** Builds and packs. Tests and samples lie beside it, to show that they stay behind. */
  async pack(): Promise<Packed> {
    await this.run('npm', 'run', 'build');
    const output = await this.run('npm', 'pack', '--json');
    const [packed]: (Omit<Packed, 'tarball'> & { filename: string })[] =
      JSON.parse(output.slice(output.indexOf('[')));
    return { ...packed!, tarball: join(this.folder, packed!.filename) };
  }

  /** Resolves with what the program printed. */
  async run(command: string, ...args: string[]): Promise<string> {
    return new Program(command, args, { cwd: this.folder }).succeeds();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/**
 * Packs the package before the tests of a file, and removes it after them.
 *
 * @returns what was packed, for later hooks and for tests
 */
export function packBeforeTests(): () => Packed {
  let copy: PackageCopy | undefined;
  let packed: Packed | undefined;
  beforeAll(async () => {
    copy = await PackageCopy.make();
    packed = await copy.pack();
  }, TIMEOUT);
  afterAll(() => copy?.[Symbol.asyncDispose]());
  return () => packed!;
}
