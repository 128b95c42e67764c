#!/usr/bin/env node
/** The command `nestjs-k8s-lock`, which serves the Lease API to the processes of a developer's machine. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { LeaseApiServer } from '../testing/index.js';

const USAGE = `Usage: nestjs-k8s-lock dev-server [--port PORT] [--kubeconfig FILE]

Serves Leases on 127.0.0.1, kept in memory, for processes that are developed without a cluster, and writes
a kubeconfig that leads there. Start each of them with KUBECONFIG set to that file.

  --port PORT         Default: a free one.
  --kubeconfig FILE   Default: a file in the folder for temporary files. Removed at the end.
`;

/** A fault of the command line. */
class UsageError extends Error {}

async function main(args: readonly string[]): Promise<void> {
  const { command, port, file, help } = read(args);
  if (help) {
    process.stdout.write(USAGE);
    return;
  }
  if (command !== 'dev-server') {
    throw new UsageError(
      command === undefined
        ? 'a command is missing'
        : `${JSON.stringify(command)} is not a command`,
    );
  }
  const server = await LeaseApiServer.start({ port });
  const folder = file === undefined ? makeFolder() : undefined;
  const kubeConfig = file ?? join(folder!, 'kubeconfig');
  try {
    writeFileSync(kubeConfig, server.kubeConfigYaml({ user: 'developer' }), {
      mode: 0o600,
      flag: 'wx', // never overwrite a file
    });
  } catch (error) {
    await server.stop();
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`--kubeconfig can't be written: ${reason}`);
  }
  process.stdout.write(
    `Leases are served at ${server.url} until this process ends. To share them, set in each process:\n\n  export KUBECONFIG=${kubeConfig}\n`,
  );
  const stop = (): void => {
    rmSync(folder ?? kubeConfig, { force: true, recursive: true });
    void server.stop();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, stop);
  }
}

function makeFolder(): string {
  return mkdtempSync(join(tmpdir(), 'nestjs-k8s-lock-'));
}

function read(args: readonly string[]) {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        port: { type: 'string' },
        kubeconfig: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    const port = Number(values.port ?? 0);
    if (!/^\d{1,5}$/.test(values.port ?? '0') || port > 65_535) {
      throw new Error(
        `--port must be a number from 0 to 65535, not ${JSON.stringify(values.port)}`,
      );
    }
    const [command] = positionals;
    return { command, port, file: values.kubeconfig, help: values.help };
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : '');
  }
}

main(process.argv.slice(2)).catch((error: unknown) => {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`nestjs-k8s-lock: ${message}\n`);
  if (error instanceof UsageError) {
    process.stderr.write(`\n${USAGE}`);
  }
  process.exitCode = error instanceof UsageError ? 2 : 1;
});
