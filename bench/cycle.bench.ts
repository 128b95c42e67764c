/** Lock and unlock, warm, against two raw PUTs on a kept-alive connection. */
import { expect, it } from 'vitest';
import { describeOnEachServer } from '../test/api-servers.js';
import { TestProcess } from '../verification/processes/test-process.js';
import { compare } from './figures.js';
import type { SoloCalls } from './programs/solo.js';

const MOST = 1.5;

describeOnEachServer('cycle', (server) => {
  it(`costs at most ${MOST} times two raw PUTs`, async (context) => {
    await using solo = await TestProcess.start<SoloCalls>(
      'bench/programs/solo',
    );
    await solo.call('open', server.kubeConfigYaml);
    const samples = await solo.call('cycle', 1_000);
    expect(
      compare(context, 'lock + unlock / 2 raw PUTs', samples, MOST),
    ).toBeLessThanOrEqual(MOST);
  });
});
