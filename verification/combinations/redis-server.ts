/** A real Redis, for BullMQ: that of the machine, or else Debian's, unpacked into the user's cache. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { obtainFolder } from '../../test/cached-folder.js';
import { unpackPackages } from '../debian-packages.js';
import { Program } from '../../test/package/program.js';

const run = promisify(execFile);

export interface Redis {
  /** Starts an empty server. */
  start(): Promise<RedisServer>;
}

export interface RedisServer {
  /** The path of the socket that it listens on. */
  readonly socket: string;
  stop(): Promise<void>;
}

export async function obtainRedis(): Promise<Redis> {
  const program = await findProgram();
  return { start: () => start(program) };
}

interface RedisProgram {
  readonly command: string;
  readonly env: NodeJS.ProcessEnv;
}

async function findProgram(): Promise<RedisProgram> {
  if (await isInstalled()) {
    return { command: 'redis-server', env: {} };
  }
  const folder = await obtainFolder('redis', (path) =>
    unpackPackages(path, ['redis-server']),
  );
  const libraries = join(folder, 'usr/lib');
  const paths = (await readdir(libraries)).map((name) => join(libraries, name));
  return {
    command: join(folder, 'usr/bin/redis-server'),
    env: { LD_LIBRARY_PATH: paths.join(':') },
  };
}

function isInstalled(): Promise<boolean> {
  return run('redis-server', ['--version']).then(
    () => true,
    () => false,
  );
}

async function start({ command, env }: RedisProgram): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-redis-'));
  const socket = join(folder, 'socket');
  const server = new Program(
    command,
    ['--port', '0', '--unixsocket', socket, '--save', ''],
    { cwd: folder, env },
  );
  await server.prints(/ready to accept connections/gi);
  return {
    socket,
    stop: async () => {
      await server[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}
