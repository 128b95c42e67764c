/** Endless 409 answers must not make a release retry without pauses. */
import { expect, it } from 'vitest';
import { useApi } from './lock-services.js';

const api = useApi();

it.each(['release', 'forceRelease'] as const)(
  'conflicts without end do not make %s ask without a pause',
  async (call) => {
    const service = await api.service({ requestTimeout: 500 });
    const lock = await service.acquire(`conflicts-${call.toLowerCase()}`);
    api.server.faults.inject(
      { kind: 'status', code: 409 },
      { name: `conflicts-${call.toLowerCase()}`, verb: 'update' },
    );
    api.server.requests.clear();
    if (call === 'release') {
      await lock.release();
    } else {
      await Promise.race([
        service.forceRelease(`conflicts-${call.toLowerCase()}`),
        new Promise((resolve) => setTimeout(resolve, 500)),
      ]);
    }
    expect(api.server.requests.count()).toBeLessThan(30);
  },
);
