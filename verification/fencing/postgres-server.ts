/** A real PostgreSQL: that of the machine, or else Debian's, unpacked into the user's cache. */
import { execFile } from 'node:child_process';
import { chown, cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { obtainFolder } from '../../test/cached-folder.js';
import { Program } from '../../test/package/program.js';
import { unpackPackages } from '../debian-packages.js';
import { psql, type PostgresAddress } from './programs/psql.js';

const run = promisify(execFile);

/** The user as whom the server runs where root would: it refuses that. */
const NOBODY = { uid: 65_534, gid: 65_534 };

export interface PostgresServer extends AsyncDisposable {
  readonly address: PostgresAddress;
  /** Runs statements. @returns what `psql` prints, without heads */
  query(sql: string): Promise<string>;
}

interface PostgresPrograms {
  /** The folder with initdb, postgres and psql. */
  readonly bin: string;
  readonly env: NodeJS.ProcessEnv;
}

/** Has the programs; rejects if they can't be obtained. */
export async function obtainPostgres(): Promise<string> {
  return (await findBin('/')) ? '/' : unpack();
}

function unpack(): Promise<string> {
  return obtainFolder('postgres', (path) =>
    unpackPackages(path, ['postgresql']),
  );
}

/** @param root of the file system in which the packages are */
async function findBin(root: string): Promise<string | undefined> {
  const versions = join(root, 'usr/lib/postgresql');
  const [latest] = (await readdir(versions).catch(() => [])).toReversed();
  return latest && join(versions, latest, 'bin');
}

async function findPrograms(folder: string): Promise<PostgresPrograms> {
  const root = await obtainPostgres();
  if (root === '/') {
    return { bin: (await findBin(root))!, env: {} };
  }
  // The cache of root is closed to others.
  await cp(join(root, 'usr'), join(folder, 'usr'), {
    recursive: true,
    verbatimSymlinks: true,
  });
  const libraries = join(folder, 'usr/lib');
  const paths = (await readdir(libraries)).map((name) => join(libraries, name));
  return {
    bin: (await findBin(folder))!,
    env: { LD_LIBRARY_PATH: paths.join(':') },
  };
}

/** Starts an empty server, on a socket in a folder of its own. */
export async function startPostgres(): Promise<PostgresServer> {
  const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-postgres-'));
  const { bin, env } = await findPrograms(folder);
  const user = process.getuid?.() === 0 ? NOBODY : undefined;
  if (user !== undefined) {
    await chown(folder, user.uid, user.gid);
  }
  const data = join(folder, 'data');
  const settings = { cwd: folder, env: { ...process.env, ...env }, ...user };
  const initdb = ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync'];
  await run(join(bin, 'initdb'), [...initdb, '-E', 'UTF8'], settings);
  const server = new Program(
    join(bin, 'postgres'),
    ['-D', data, '-k', folder, '-h', ''],
    { cwd: folder, env, ...user },
  );
  await server.prints(/ready to accept connections/g);
  const address = { psql: join(bin, 'psql'), env, socket: folder };
  return {
    address,
    query: (sql) => psql(address, sql),
    [Symbol.asyncDispose]: async () => {
      server.signal('SIGINT'); // its own processes end with it
      await server.end();
      await rm(folder, { recursive: true });
    },
  };
}
