/** Fetches Debian's packages, with what the machine lacks for them, and unpacks them; it installs nothing and needs no rights. */
import { execFile } from 'node:child_process';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Unpacks them into the folder, which then looks like the root of a file system. */
export async function unpackPackages(
  folder: string,
  names: readonly string[],
): Promise<void> {
  const lists = join(folder, 'apt/lists');
  const cache = join(folder, 'apt/cache');
  const archives = join(cache, 'archives');
  await mkdir(join(lists, 'partial'), { recursive: true });
  await mkdir(join(archives, 'partial'), { recursive: true });
  const apt = (...args: string[]): Promise<unknown> =>
    run('apt-get', [
      `-oDir::State::Lists=${lists}`,
      `-oDir::Cache=${cache}`,
      '-oDebug::NoLocking=true',
      ...args,
    ]);
  await apt('update');
  await apt(
    'install',
    '--download-only',
    '--no-install-recommends',
    '--yes',
    ...names,
  );
  const files = await readdir(archives);
  for (const file of files.filter((each) => each.endsWith('.deb'))) {
    // oxlint-disable-next-line no-await-in-loop -- into one folder, one after the other
    await run('dpkg', ['--extract', join(archives, file), folder]);
  }
  await rm(join(folder, 'apt'), { recursive: true });
}
