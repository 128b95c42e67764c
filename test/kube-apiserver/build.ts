/** Builds the kube-apiserver of this folder, once per version, into the user's cache. */
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
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const sourceDir = fileURLToPath(new URL('.', import.meta.url));
/** Neither a C compiler nor the state of the work tree decides what comes out. */
const goEnvironment = { ...process.env, CGO_ENABLED: '0', GOWORK: 'off' };

const PROGRESS_INTERVAL = 15_000;
const HEARTBEAT_INTERVAL = 5_000;
const STALE_LOCK_AGE = 30_000;

/** No API server can be built on this machine; the message says why. */
export class KubeApiserverUnavailableError extends Error {
  override readonly name = 'KubeApiserverUnavailableError';
}

/**
 * Returns the path of the binary, and builds it if the cache has none: that takes minutes, and is
 * reported on stderr. Processes that need it at the same time wait for one of them to build it.
 */
export async function buildKubeApiserver(): Promise<string> {
  const source = await readSource();
  const directory = join(
    process.env.XDG_CACHE_HOME || join(homedir(), '.cache'),
    'nestjs-k8s-lock',
    'kube-apiserver',
    `${source.version}-${source.hash}`,
  );
  const binary = join(directory, 'kube-apiserver');
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
  /** Of Kubernetes, as `1.37.2`. */
  version: string;
  /** The oldest Go that can build it, as `1.26`. */
  goVersion: string;
  /** Of everything that decides what the binary does. */
  hash: string;
}

async function readSource(): Promise<Source> {
  const files = (await readdir(sourceDir))
    .filter((file) => /\.go$|^go\.(mod|sum)$/.test(file))
    .toSorted();
  const hash = createHash('sha256').update(buildFlags('').join(' '));
  for (const file of files) {
    hash.update(file).update(await readFile(join(sourceDir, file)));
  }
  const goMod = await readFile(join(sourceDir, 'go.mod'), 'utf8');
  return {
    version: capture(goMod, /^\s*k8s\.io\/kubernetes v(\S+)$/m),
    goVersion: capture(goMod, /^go (\d+\.\d+)/m),
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

/** Kubernetes has its version from the linker; without it, it calls itself v0.0.0-master. */
function buildFlags(version: string): string[] {
  const [major, minor] = version.split('.');
  const variables = {
    gitVersion: `v${version}`,
    gitMajor: major,
    gitMinor: minor,
  };
  const definitions = Object.entries(variables).map(
    ([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`,
  );
  return ['-buildvcs=false', '-ldflags', ['-s -w', ...definitions].join(' ')];
}

async function requireGo({ version, goVersion }: Source): Promise<void> {
  const need = `Kubernetes ${version} needs Go ${goVersion} or newer to build`;
  let found: string;
  try {
    const { stdout } = await run('go', ['env', 'GOVERSION'], {
      cwd: sourceDir,
      env: goEnvironment,
    });
    found = stdout.trim();
  } catch (error) {
    throw new KubeApiserverUnavailableError(
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
    throw new KubeApiserverUnavailableError(`${found} is too old; ${need}`);
  }
}

async function build({ version }: Source, binary: string): Promise<void> {
  const started = performance.now();
  const report = (state: string) => {
    const seconds = Math.round((performance.now() - started) / 1_000);
    process.stderr.write(
      `kube-apiserver ${version}: ${state} (${seconds} s)\n`,
    );
  };
  report('building, which takes minutes and happens once');
  const progress = setInterval(() => report('building'), PROGRESS_INTERVAL);
  // Nobody may see half a binary, nor may two builders ever write the same file.
  const unfinished = `${binary}.${randomUUID()}`;
  try {
    const flags = buildFlags(version);
    await run('go', ['build', ...flags, '-o', unfinished, '.'], {
      cwd: sourceDir,
      env: goEnvironment,
    });
    await rename(unfinished, binary);
  } catch (error) {
    throw new KubeApiserverUnavailableError(
      `kube-apiserver ${version} did not build: ${stderrOf(error)}`,
      { cause: error },
    );
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
