/** Falsifies the clocks of a process with libfaketime, which is fetched once, as Debian's package, into the user's cache. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { obtainFolder } from '../../test/cached-folder.js';
import { unpackPackages } from '../debian-packages.js';

const LIBRARY = /\/libfaketimeMT\.so\.1$/;

/** How a process's clocks are wrong. */
export interface Clock {
  /** Hours by which its wall clock is off. */
  readonly offset: number;
  /** How fast all its clocks go; 1 = as they should. */
  readonly rate: number;
}

export type ObtainedFaketime =
  | { readonly library: string }
  /** There is none, and this is why. */
  | { readonly unavailable: string };

/** Finds the library in the cache, or fetches it. */
export async function obtainFaketime(): Promise<ObtainedFaketime> {
  try {
    const folder = await obtainFolder('faketime', (path) =>
      unpackPackages(path, ['libfaketime']),
    );
    const files = await readdir(folder, { recursive: true });
    const file = files.find((each) => LIBRARY.test(each));
    return file === undefined
      ? { unavailable: `${folder} has no libfaketimeMT.so.1` }
      : { library: join(folder, file) };
  } catch (error) {
    return { unavailable: `libfaketime can't be fetched: ${String(error)}` };
  }
}

/** What a process needs in its environment to have such a clock. */
export function environmentFor(
  { offset, rate }: Clock,
  library: string,
): NodeJS.ProcessEnv {
  if (offset === 0 && rate === 1) {
    return {};
  }
  const sign = offset < 0 ? '-' : '+';
  return {
    LD_PRELOAD: library,
    FAKETIME: `${sign}${Math.abs(offset)}h x${rate}`,
    FAKETIME_DISABLE_SHM: '1',
    // An offset is a matter of the wall clock; a rate is one of all clocks.
    ...(rate === 1 && { FAKETIME_DONT_FAKE_MONOTONIC: '1' }),
  };
}
