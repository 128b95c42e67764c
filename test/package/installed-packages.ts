/** The packages that a package.json names, as its lock file locks them, in a folder of the user's cache. */
import { createHash } from 'node:crypto';
import { copyFile, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { obtainFolder } from '../cached-folder.js';
import { Program } from './program.js';

/**
 * Returns the folder that has them in its `node_modules`, installed by `npm ci`.
 *
 * @param source the folder with package.json and package-lock.json
 */
export async function obtainPackages(source: string): Promise<string> {
  const files = ['package.json', 'package-lock.json'];
  const hash = createHash('sha256').update(
    await readFile(join(source, 'package-lock.json')),
  );
  const name = basename(source);
  return obtainFolder(
    `${name}-${hash.digest('hex').slice(0, 12)}`,
    async (folder) => {
      process.stderr.write(`Installing the packages of ${name}, once\n`);
      await Promise.all(
        files.map((file) => copyFile(join(source, file), join(folder, file))),
      );
      const flags = ['--prefer-offline', '--ignore-scripts', '--no-audit'];
      await new Program('npm', ['ci', ...flags], { cwd: folder }).succeeds();
    },
  );
}
