/** Two copies of the package in one process, as two versions in node_modules make them: the log says which, and what to do. */
import { Logger, type Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, expect, it, vi } from 'vitest';
import { buildFolder } from '../support/build-folder.js';

type Package = typeof import('../../lib/index.js');

const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
afterEach(() => warn.mockClear());

/** Where npm would install it for a dependency of the application. */
async function install(name: string): Promise<string> {
  const folder = join(
    buildFolder(),
    'copies',
    name,
    'node_modules/nestjs-k8s-lock',
  );
  await cp(join(buildFolder(), 'dist'), join(folder, 'dist'), {
    recursive: true,
  });
  await cp(join(buildFolder(), 'package.json'), join(folder, 'package.json'));
  return folder;
}

async function load(folder: string): Promise<Package> {
  return import(pathToFileURL(join(folder, 'dist/index.js')).href);
}

function lockedBy({ WithLeaseLock }: Package): Type<{ run(): Promise<void> }> {
  class Jobs {
    @WithLeaseLock('job')
    async run(): Promise<void> {}
  }
  return Jobs;
}

it('two copies are warned of as the second is loaded, with both paths and how to leave one', async () => {
  const [one, other] = [await install('one'), await install('other')];
  const first = await load(one);
  await load(one);
  expect(warn).not.toHaveBeenCalled();
  const second = await load(other);
  expect(warn.mock.calls).toEqual([
    [
      expect.stringMatching(
        /^nestjs-k8s-lock is loaded from more than one place, .*npm ls nestjs-k8s-lock, .*npm dedupe/,
      ),
    ],
  ]);
  expect(warn.mock.calls.join()).toContain(`${one} and ${other}:`);

  const module = first.K8sLockModule.forRoot({ verifyAtStartup: false });
  await expect(
    Test.createTestingModule({
      imports: [module],
      providers: [lockedBy(second)],
    }).compile(),
  ).rejects.toThrow("Nest can't resolve dependencies");
  const Jobs = lockedBy(second);
  const made = await Test.createTestingModule({
    imports: [module],
    providers: [{ provide: Jobs, useFactory: () => new Jobs() }],
  }).compile();
  const failure: unknown = await made
    .get(Jobs)
    .run()
    .catch((error: unknown) => error);
  expect(String(failure)).toMatch(
    /Jobs\.run has no LockService.*different copies/,
  );
  expect(String(failure)).not.toContain(other);
  await made.close();
});
