/** Runs statements with `psql`. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Where a server is, and with what to speak to it. */
export interface PostgresAddress {
  /** The path of the program. */
  readonly psql: string;
  readonly env: NodeJS.ProcessEnv;
  /** The folder of the server's socket. */
  readonly socket: string;
}

/** @returns what it prints, without heads */
export async function psql(
  { psql: program, env, socket }: PostgresAddress,
  sql: string,
): Promise<string> {
  const { stdout } = await run(
    program,
    ['-X', '-A', '-t', '-h', socket, '-U', 'postgres', '-c', sql],
    { env: { ...process.env, ...env } },
  );
  return stdout.trim();
}
