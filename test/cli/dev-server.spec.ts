/** `nestjs-k8s-lock dev-server`, as people start it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { describe, expect, inject, it } from 'vitest';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { clientOf } from '../../lib/lock.client.js';
import { LockService } from '../../lib/lock.service.js';

function start(...args: string[]): ChildProcess {
  const build = inject('build');
  if ('failed' in build) {
    throw new Error(build.failed);
  }
  return spawn(process.execPath, [
    join(build.folder, 'dist/cli/main.js'),
    ...args,
  ]);
}

/** How a run that ends by itself ends, and what it prints. */
async function run(...args: string[]) {
  const child = start(...args);
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  }
  const [code] = await once(child, 'close');
  return { code, output };
}

describe('dev-server', () => {
  it('serves the processes that have its kubeconfig, and leaves nothing behind', async () => {
    const child = start('dev-server');
    const closed = once(child, 'close');
    const [text] = await once(child.stdout!.setEncoding('utf8'), 'data');
    const file = /KUBECONFIG=(\S+)/.exec(String(text))![1]!;
    const services = [1, 2].map(() => {
      const kubeConfig = new KubeConfig();
      kubeConfig.loadFromFile(file);
      return new LockService(resolveModuleOptions({ kubeConfig }));
    });
    const [one, other] = services;
    const lock = await one!.acquire('job');
    expect(await other!.tryAcquire('job')).toBeUndefined();
    await lock.release();
    await Promise.all(services.map((service) => clientOf(service)!.shutdown()));
    child.kill('SIGTERM');
    expect(await closed).toEqual([0, null]);
    expect(existsSync(file)).toBe(false);
  });

  it.each([
    [[], 'a command is missing'],
    [['serve'], '"serve" is not a command'],
    [['dev-server', '--kubeconfig', 'package.json'], 'EEXIST'],
    [['dev-server', '--port', '70000'], '--port must be a number'],
    [['dev-server', '--prot', '1'], "Unknown option '--prot'"],
  ])('says what is wrong with %j', async (args, message) => {
    const { code, output } = await run(...args);
    expect(code).toBe(2);
    expect(output).toContain(message);
    expect(output).toContain('Usage: nestjs-k8s-lock');
  });

  it('explains itself', async () => {
    const { code, output } = await run('dev-server', '--help');
    expect(code).toBe(0);
    expect(output).toContain('--kubeconfig FILE');
  });
});
