/** From release to acquisition between two processes, against a raw PUT and its event between the same two. */
import { expect, it } from 'vitest';
import { describeOnEachServer } from '../test/api-servers.js';
import { TestProcess } from '../verification/processes/test-process.js';
import { compare } from './figures.js';
import type { PeerCalls } from './programs/peer.js';

const MOST = 3;
const ROUNDS = 300;
const WARM_UP = 300;

type Peer = TestProcess<PeerCalls>;

async function startPeer(kubeConfigYaml: string): Promise<Peer> {
  const peer = await TestProcess.start<PeerCalls>('bench/programs/peer');
  await peer.call('open', kubeConfigYaml);
  return peer;
}

async function handOver(giver: Peer, taker: Peer): Promise<number> {
  await giver.call('acquire', 'handed-over');
  const watching = taker.nextEvent('watching');
  const taken = taker.call('acquire', 'handed-over');
  await watching;
  const releasedAt = await giver.call('release');
  const takenAt = await taken;
  await taker.call('release');
  return takenAt - releasedAt;
}

async function tell(giver: Peer, taker: Peer): Promise<number> {
  const told = taker.nextEvent('raw-event');
  const putAt = await giver.call('putRaw');
  return (await told).at - putAt;
}

describeOnEachServer('handover between processes', (server) => {
  it(`takes at most ${MOST} times a raw PUT and its watch event`, async (context) => {
    await using giver = await startPeer(server.kubeConfigYaml);
    await using taker = await startPeer(server.kubeConfigYaml);
    const opened = taker.nextEvent('raw-event');
    await giver.call('createRaw');
    await taker.call('watchRaw');
    await opened;

    const samples: [number[], number[]] = [[], []];
    for (let round = -WARM_UP; round < ROUNDS; round += 1) {
      // oxlint-disable-next-line no-await-in-loop -- in turns, so that both meet the same load
      const baseline = await tell(giver, taker);
      // oxlint-disable-next-line no-await-in-loop -- as above
      const measured = await handOver(giver, taker);
      if (round >= 0) {
        samples[0].push(measured);
        samples[1].push(baseline);
      }
    }
    expect(
      compare(
        context,
        'release to acquired / raw PUT to its event',
        samples,
        MOST,
      ),
    ).toBeLessThanOrEqual(MOST);
  });
});
