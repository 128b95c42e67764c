/** Builds earlier commits of this repository, so that processes of an earlier and of the present build can meet. */
import { execFile } from 'node:child_process';
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { compile } from '../../test/build.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

/** A build that may still run while the present one is rolled out. */
export interface EarlierBuild {
  readonly commit: string;
  readonly title: string;
  /** Whether it has places in line, sessions and semaphores. */
  readonly hasLine: boolean;
}

/** CONTRIBUTING.md says when the first moves. */
export const EARLIER_BUILDS: readonly EarlierBuild[] = [
  {
    commit: '9d08030e3d49274e48c7e4ca7bd5251272552a30',
    title: 'the last released build',
    hasLine: true,
  },
  {
    commit: 'a692a8cb230167bec883226f2fbbcf2a90d1b2ac',
    title: 'a build from before places in line',
    hasLine: false,
  },
];

/** @throws if this checkout lacks one of the commits, as a shallow one does, or git itself */
export async function findEarlierBuilds(): Promise<void> {
  for (const { commit, title } of EARLIER_BUILDS) {
    try {
      // oxlint-disable-next-line no-await-in-loop -- the first that is missing is named
      await run('git', ['cat-file', '-e', `${commit}^{commit}`], { cwd: root });
    } catch (error) {
      throw new Error(
        `this checkout does not have ${commit.slice(0, 7)}, ${title}: it needs git and the whole history`,
        { cause: error },
      );
    }
  }
}

/**
 * Compiles the package as it was at a commit, with the present dependencies, and puts the present programs beside it.
 *
 * @param present what `buildForProcesses` has built
 * @returns a folder like that of `buildForProcesses`
 */
export async function buildEarlier(
  { commit }: EarlierBuild,
  present: string,
): Promise<string> {
  const folder = join(present, `earlier-${commit.slice(0, 7)}`);
  await mkdir(folder);
  const archive = join(folder, 'source.tar');
  const parts = ['lib', 'package.json', 'tsconfig.json'];
  await run('git', ['archive', '-o', archive, commit, ...parts], { cwd: root });
  await run('tar', ['-xf', archive], { cwd: folder });
  // Its types were checked when it was built, with its own dependencies.
  await compile(folder, join(folder, 'dist'), '--noCheck');
  await cp(join(present, 'verification'), join(folder, 'verification'), {
    recursive: true,
  });
  return folder;
}
