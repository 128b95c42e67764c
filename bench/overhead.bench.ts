/**
 * What a lock adds to a method beyond its two requests, in three ways:
 *
 * - on a store that answers at once, so that there is nothing but the code from the decorator to the
 *   store and back. This one is required: neither the network, nor the API server, nor what else the
 *   machine does in the meantime is in it.
 * - against an API server, from each call the time in which a request of it was under way. The same
 *   code, at the pace of a processor that has waited and done other things since the last call.
 * - against an API server, the difference to the same requests by themselves: that of two medians
 *   which vary by more than what is asked for.
 */
import { expect, it } from 'vitest';
import { describeOnEachServer } from '../test/api-servers.js';
import { TestProcess } from '../verification/processes/test-process.js';
import { difference } from './figures.js';
import type { LockedMethodCalls } from './programs/locked-method.js';

/** Microseconds. */
const MOST = 100;

describeOnEachServer('overhead', (server) => {
  it(`is below ${MOST} µs a call`, async (context) => {
    await using program = await TestProcess.start<LockedMethodCalls>(
      'bench/programs/locked-method',
    );
    await program.call('open', server.kubeConfigYaml);
    const onServer = await program.call('onServer', 1_000);
    const answeredAtOnce = await program.call('answeredAtOnce', 5_000);

    expect(onServer.requests).toBe(2);
    const overhead = difference(
      context,
      'locked - unlocked method, requests answered at once',
      answeredAtOnce,
      MOST,
    );
    difference(
      context,
      'locked - unlocked method, outside of its requests',
      onServer.outsideOfRequests,
    );
    difference(
      context,
      'locked method - its requests alone',
      onServer.againstRequests,
    );
    expect(overhead).toBeLessThan(MOST);
  });
});
