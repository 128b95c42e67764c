/** What locks in memory cost a test: measured in a process that does nothing else. */
import { expect, it } from 'vitest';
import { runBuilt } from './program.js';

it('K8sLockTestingModule adds less than 5 ms to a start', async () => {
  const output = await runBuilt('cost-of-start');
  // CPU time: what else the machine does is no part of it.
  expect(output).toMatch(/^-?\d+\.?\d*\n$/);
  expect(Number(output)).toBeLessThan(5);
});
