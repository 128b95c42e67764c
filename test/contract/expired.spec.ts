/** A watch from a version that the API server no longer knows; the same of the real one is in verification/. */
import { expect, it } from 'vitest';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { eventsSince, expired, writeTwice } from './expired.js';
import { RawApi } from './raw-api.js';

it('An expired version ends a watch with an error in the stream', async () => {
  await using server = await LeaseApiServer.start();
  const api = new RawApi(server.kubeConfigYaml());
  const path = RawApi.leases('default');
  const old = await writeTwice(api, path);
  server.compact();
  expect(await eventsSince(api, path, old)).toMatchObject(expired);
});
