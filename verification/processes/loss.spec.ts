/** Shows that work goes on when its lock is taken away: it is told, and decides by itself. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeOnServer } from '../../test/api-servers.js';
import { RawApi } from '../../test/contract/raw-api.js';
import { startLocker, type Locker } from './lockers.js';

describeOnServer('the loss of a lock rejects nothing', (server) => {
  let worker: Locker;
  let other: Locker;
  beforeAll(async () => {
    const { kubeConfigYaml } = server;
    const options = { kubeConfigYaml, leaseDuration: 2_000 };
    [worker, other] = await Promise.all([
      startLocker(options),
      startLocker(options),
    ]);
  });
  afterAll(() =>
    Promise.all([worker, other].map((each) => each[Symbol.asyncDispose]())),
  );

  it.concurrent.each([
    {
      lossReason: 'freed',
      takeAway: (name: string) => other.call('forceRelease', name),
    },
    {
      lossReason: 'deleted',
      takeAway: (name: string) =>
        new RawApi(server.kubeConfigYaml).request(
          'DELETE',
          RawApi.leases(server.namespace, name),
        ),
    },
  ])('when it is $lossReason', async ({ lossReason, takeAway }) => {
    const name = `to-be-${lossReason}`;
    const work = worker.call('workUnderLock', name, 'returns');
    await worker.event('working', { name });
    await takeAway(name);
    await worker.call('loss', name);
    await worker.call('endWork', name);
    expect(await work).toEqual({
      isHeld: false,
      aborted: true,
      lossReason,
      assertion: 'LockLostError',
    });
    // The lock can be had again.
    await other.call('acquire', name);
  });
});
