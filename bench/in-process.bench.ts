/** From one caller to the next within a process: the two share one PUT. */
import { expect, it } from 'vitest';
import { describeOnEachServer } from '../test/api-servers.js';
import { TestProcess } from '../verification/processes/test-process.js';
import { compare } from './figures.js';
import type { SoloCalls } from './programs/solo.js';

const ROUNDS = 500;

describeOnEachServer('local handover', (server) => {
  it('is compared to one raw PUT', async (context) => {
    await using solo = await TestProcess.start<SoloCalls>(
      'bench/programs/solo',
    );
    await solo.call('open', server.kubeConfigYaml);
    const samples = await solo.call('localHandover', ROUNDS);
    compare(context, 'release to acquired / raw PUT', samples);
    expect(samples[0]).toHaveLength(ROUNDS);
  });
});
