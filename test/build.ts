/** Builds what the processes of a test run: the package as it is published, and their own programs. */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, readdir, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
const builds = join(root, '.build');

/**
 * Compiles everything anew, into a folder that belongs to this process: nobody else's run can take
 * it away, and nothing old can be in it. The folder is a package of the name `nestjs-k8s-lock`, with
 * its own `package.json`, so that a program in it imports that name and gets what was just built.
 *
 * @returns the folder; a program `test/a/b.ts` has become `test/a/b.js` in it
 */
export async function buildForProcesses(): Promise<string> {
  const folder = join(builds, String(process.pid));
  await removeAbandoned();
  await removeBuild();
  await mkdir(folder, { recursive: true });
  await Promise.all([
    copyFile(join(root, 'package.json'), join(folder, 'package.json')),
    compile('tsconfig.json', join(folder, 'dist')),
    compile('test/tsconfig.programs.json', folder),
  ]);
  return folder;
}

/** Removes what {@link buildForProcesses} has built. */
export async function removeBuild(): Promise<void> {
  await rm(join(builds, String(process.pid)), { recursive: true, force: true });
}

/** Runs the compiler on a `tsconfig.json`, or the folder of one. */
export async function compile(
  project: string,
  outDir: string,
  ...options: string[]
): Promise<void> {
  const compiler = join(
    dirname(createRequire(import.meta.url).resolve('typescript/package.json')),
    'bin/tsc',
  );
  try {
    await run(
      process.execPath,
      [compiler, '-p', project, '--outDir', outDir, ...options],
      { cwd: root },
    );
  } catch (error) {
    const output =
      error instanceof Error && 'stdout' in error ? error.stdout : error;
    throw new Error(`${project} does not compile:\n${String(output)}`, {
      cause: error,
    });
  }
}

/** The folders of processes that were killed before they could remove them. */
async function removeAbandoned(): Promise<void> {
  const names = await readdir(builds).catch(() => []);
  await Promise.all(
    names
      .filter((name) => /^\d+$/.test(name) && !isAlive(Number(name)))
      .map((name) => rm(join(builds, name), { recursive: true, force: true })),
  );
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(
      error instanceof Error &&
      'code' in error &&
      error.code === 'ESRCH'
    );
  }
}
