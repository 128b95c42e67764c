/** `dev-server`: serves the Lease API to the processes of a developer's machine. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { explanationOf } from '../lock.errors.js';
import { quote } from '../printable.js';
import { LeaseApiServer } from '../testing/index.js';
import { UsageError, type Flags } from './arguments.js';
import { print } from './output.js';

export async function devServer(flags: Flags): Promise<void> {
  const { kubeconfig: file } = flags;
  const server = await LeaseApiServer.start({ port: portOf(flags.port) });
  const folder = file === undefined ? makeFolder() : undefined;
  const kubeConfig = file ?? join(folder!, 'kubeconfig');
  try {
    writeFileSync(kubeConfig, server.kubeConfigYaml({ user: 'developer' }), {
      mode: 0o600,
      flag: 'wx', // never overwrite a file
    });
  } catch (error) {
    await server.stop();
    throw new UsageError(
      `--kubeconfig can't be written: ${explanationOf(error)}`,
    );
  }
  print(
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

function portOf(text = '0'): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535) {
    throw new UsageError(
      `--port must be a number from 0 to 65535, not ${quote(text)}`,
    );
  }
  return port;
}
