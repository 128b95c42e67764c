/** What locks in memory cost a test: measured in a process that does nothing else. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { buildFolder } from '../support/build-folder.js';
import { Program } from './program.js';

it('K8sLockTestingModule adds less than 5 ms to a start', async () => {
  const folder = buildFolder();
  const program = join(folder, 'test/package/programs/cost-of-start.js');
  const output = await new Program(process.execPath, [program], {
    cwd: folder,
  }).succeeds();
  // CPU time: what else the machine does is no part of it.
  expect(output).toMatch(/^-?\d+\.?\d*\n$/);
  expect(Number(output)).toBeLessThan(5);
});
