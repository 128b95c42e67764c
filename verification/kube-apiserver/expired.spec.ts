/** A watch from a version that the real API server no longer knows, as test/contract has it of the embedded one. */
import { expect, it } from 'vitest';
import {
  eventsSince,
  expired,
  writeTwice,
} from '../../test/contract/expired.js';
import { RawApi } from '../../test/contract/raw-api.js';
import { KubeClient } from '../../test/kube-client.js';
import { startKubeApiserver } from './kube-apiserver.js';

it('An expired version ends a watch with an error in the stream, after a restart', async () => {
  await using server = await startKubeApiserver();
  const admin = new KubeClient(server.kubeConfig());
  const namespace = await admin.createNamespace();
  const api = new RawApi(server.kubeConfig());
  const path = RawApi.leases(namespace);
  const old = await writeTwice(api, path);
  await server.restart('SIGKILL');
  expect(await eventsSince(api, path, old)).toMatchObject(expired);
});
