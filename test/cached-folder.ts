/** Folders that take long to make: each is made once, and kept in the user's cache. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * Returns the path of the folder, and has it made if the cache has none. Of processes that make it at
 * the same time, the first to end is taken.
 *
 * @param name has all in it that decides what the folder contains
 */
export async function obtainFolder(
  name: string,
  make: (folder: string) => Promise<void>,
): Promise<string> {
  const folder = cachePath(name);
  if (existsSync(folder)) {
    return folder;
  }
  const unfinished = `${folder}.${randomUUID()}`;
  await mkdir(unfinished, { recursive: true });
  try {
    await make(unfinished);
    await rename(unfinished, folder);
  } catch (error) {
    if (!existsSync(folder)) {
      throw error;
    }
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
  return folder;
}

/** Where in the user's cache this is kept. */
export function cachePath(...names: string[]): string {
  return join(
    process.env.XDG_CACHE_HOME || join(homedir(), '.cache'),
    'nestjs-k8s-lock',
    ...names,
  );
}
