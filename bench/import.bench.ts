/** What importing the package costs an application that has loaded Nest already. */
import { expect, it } from 'vitest';
import { TestProcess } from '../verification/processes/test-process.js';
import { median, milliseconds, note } from './figures.js';
import type { Cost, ImportCostCalls } from './programs/import-cost.js';

const ROUNDS = 7;
const NEST = ['reflect-metadata', 'rxjs', '@nestjs/common', '@nestjs/core'];

it('costs little', async (context) => {
  const nest: Cost[] = [];
  const own: Cost[] = [];
  const clientNode: Cost[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await using process = await TestProcess.start<ImportCostCalls>(
      'bench/programs/import-cost',
    );
    nest.push(await process.call('importAll', NEST));
    own.push(await process.call('importAll', ['nestjs-k8s-lock']));
    clientNode.push(
      await process.call('importAll', ['@kubernetes/client-node']),
    );
  }
  for (const [what, costs] of [
    ['Nest, before it', nest],
    ['nestjs-k8s-lock', own],
    ['client-node, which its first request loads', clientNode],
  ] as const) {
    const time = median(costs.map((cost) => cost.milliseconds));
    const memory = median(costs.map((cost) => cost.megabytes));
    note(context, what, `${milliseconds(time)}, ${memory.toFixed(1)} MB`);
  }
  expect(own).toHaveLength(ROUNDS);
});
