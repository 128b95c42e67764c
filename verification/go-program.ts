/** Builds programs that the verification needs and that are written in Go: each once per version, into the user's cache. */
import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import {
  access,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
} from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { cachePath } from '../test/cached-folder.js';

const run = promisify(execFile);
/** Neither a C compiler nor the state of the work tree decides what comes out. */
const goEnvironment = { ...process.env, CGO_ENABLED: '0', GOWORK: 'off' };

const PROGRESS_INTERVAL = 15_000;
const HEARTBEAT_INTERVAL = 5_000;
const STALE_LOCK_AGE = 30_000;

export interface GoProgram {
  /** Of the binary. */
  readonly name: string;
  /** Where its module is: a flat folder. */
  readonly directory: string;
  /** The module in its go.mod that gives it its version. */
  readonly versionOf: string;
  /** For the linker, beside those that every program gets. */
  readonly linkerFlags?: (version: string) => readonly string[];
}

/**
 * Returns the path of the binary, and builds it if the cache has none: that may take minutes, and is
 * reported on stderr. Processes that need it at the same time wait for one of them to build it.
 *
 * @throws where there is no Go, or one that is too old, or it does not build
 */
export async function buildGoProgram(program: GoProgram): Promise<string> {
  const source = await readSource(program);
  const version = `${source.version}-${source.hash}`;
  const directory = cachePath(program.name, version);
  const binary = join(directory, program.name);
  if (await exists(binary)) {
    return binary;
  }
  await requireGo(source);
  await mkdir(directory, { recursive: true });
  for (;;) {
    const release = await tryLock(join(directory, 'lock'));
    try {
      if (await exists(binary)) {
        return binary;
      }
      if (release) {
        await build(source, binary);
        return binary;
      }
    } finally {
      await release?.();
    }
    await sleep(1_000);
  }
}

interface Source {
  /** Name and version of the program. */
  readonly title: string;
  readonly directory: string;
  readonly version: string;
  /** The oldest Go that can build it, as `1.26`. */
  readonly goVersion: string;
  readonly flags: readonly string[];
  /** Of everything that decides what the binary does. */
  readonly hash: string;
}

async function readSource(program: GoProgram): Promise<Source> {
  const { name, directory, versionOf, linkerFlags } = program;
  const files = (await readdir(directory))
    .filter((file) => /\.go$|^go\.(mod|sum)$/.test(file))
    .toSorted();
  const goMod = await readFile(join(directory, 'go.mod'), 'utf8');
  const version = capture(
    goMod,
    new RegExp(`^\\s*${versionOf.replaceAll('.', '\\.')} v(\\S+)$`, 'm'),
  );
  const flags = [
    '-buildvcs=false',
    '-ldflags',
    ['-s -w', ...(linkerFlags?.(version) ?? [])].join(' '),
  ];
  const hash = createHash('sha256').update(flags.join(' '));
  for (const file of files) {
    hash.update(file).update(await readFile(join(directory, file)));
  }
  return {
    title: `${name} ${version}`,
    directory,
    version,
    goVersion: capture(goMod, /^go (\d+\.\d+)/m),
    flags,
    hash: hash.digest('hex').slice(0, 12),
  };
}

function capture(text: string, pattern: RegExp): string {
  const match = pattern.exec(text)?.[1];
  if (match === undefined) {
    throw new Error(`go.mod has nothing that matches ${pattern}`);
  }
  return match;
}

async function requireGo(source: Source): Promise<void> {
  const { title, directory, goVersion } = source;
  const need = `${title} needs Go ${goVersion} or newer to build`;
  let found: string;
  try {
    const { stdout } = await run('go', ['env', 'GOVERSION'], {
      cwd: directory,
      env: goEnvironment,
    });
    found = stdout.trim();
  } catch (error) {
    throw new Error(
      isErrno(error, 'ENOENT')
        ? `there is no \`go\` on the PATH; ${need}`
        : `\`go env\` failed; ${need}: ${stderrOf(error)}`,
      { cause: error },
    );
  }
  const [major = 0, minor = 0] = found
    .replace(/^go/, '')
    .split('.')
    .map(Number);
  const [needMajor = 0, needMinor = 0] = goVersion.split('.').map(Number);
  if (major < needMajor || (major === needMajor && minor < needMinor)) {
    throw new Error(`${found} is too old; ${need}`);
  }
}

async function build(source: Source, binary: string): Promise<void> {
  const { title, directory, flags } = source;
  const started = performance.now();
  const report = (state: string) => {
    const seconds = Math.round((performance.now() - started) / 1_000);
    process.stderr.write(`${title}: ${state} (${seconds} s)\n`);
  };
  report('building, which may take minutes and happens once');
  const progress = setInterval(() => report('building'), PROGRESS_INTERVAL);
  // Nobody may see half a binary, nor may two builders ever write the same file.
  const unfinished = `${binary}.${randomUUID()}`;
  try {
    await run('go', ['build', ...flags, '-o', unfinished, '.'], {
      cwd: directory,
      env: goEnvironment,
    });
    await rename(unfinished, binary);
  } catch (error) {
    throw new Error(`${title} did not build: ${stderrOf(error)}`, {
      cause: error,
    });
  } finally {
    clearInterval(progress);
    await rm(unfinished, { force: true });
  }
  report('built');
}

/**
 * Creates the lock file, and returns what removes it; undefined while another process has it. An
 * owner that was killed stops touching the file, and after a while it counts as gone. Two processes
 * that find this out at the same moment may both build: a waste, and nothing worse.
 */
async function tryLock(
  file: string,
): Promise<(() => Promise<void>) | undefined> {
  try {
    const handle = await open(file, 'wx');
    await handle.close();
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) {
      throw error;
    }
    const owner = await stat(file).catch(() => undefined);
    if (owner && Date.now() - owner.mtimeMs > STALE_LOCK_AGE) {
      await rm(file, { force: true });
    }
    return undefined;
  }
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(file, now, now).catch(() => {});
  }, HEARTBEAT_INTERVAL);
  return async () => {
    clearInterval(heartbeat);
    await rm(file, { force: true });
  };
}

function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** The end of what a failed command wrote to stderr: Go's list of downloads comes before it. */
function stderrOf(error: unknown): string {
  const stderr =
    error instanceof Error && 'stderr' in error ? String(error.stderr) : '';
  return (
    stderr
      .split('\n')
      .filter((line) => !line.startsWith('go: downloading'))
      .join('\n')
      .trim()
      .slice(-2_000) || String(error)
  );
}
