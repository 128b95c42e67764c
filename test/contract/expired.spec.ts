/** A watch from a version that the API server no longer knows. */
import { randomUUID } from 'node:crypto';
import { describe, expect, inject, it } from 'vitest';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { startKubeApiserver } from '../kube-apiserver/kube-apiserver.js';
import { KubeClient } from '../kube-apiserver/kube-client.js';
import { failure, HELD, RawApi, type Json } from './raw-api.js';

const START_TIMEOUT = 120_000;

/** Two versions of a Lease, the first of which the history is to forget. */
async function writeTwice(api: RawApi, path: string): Promise<Json> {
  const created = await api.request('POST', path, {
    body: { metadata: { name: 'old' }, spec: HELD },
  });
  const spec = { ...HELD, leaseTransitions: 4 };
  const body = { ...created.body, spec };
  await api.request('PUT', `${path}/old`, { body });
  return created.body;
}

/** Everything that a watch from the version of this Lease reports until it ends. */
async function eventsSince(api: RawApi, path: string, { metadata }: Json) {
  const since = `watch=1&resourceVersion=${metadata.resourceVersion}`;
  const watch = await api.watch(`${path}?${since}`);
  const events = [];
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const event = await watch.next();
    if (!event) {
      return { code: watch.code, events };
    }
    events.push(event);
  }
}

/** The watch begins well, and the error comes in its stream. */
const expired = {
  code: 200,
  events: [{ type: 'ERROR', object: failure(410, 'Expired').body }],
};

describe('An expired version', () => {
  it('ends a watch with an error in the stream (embedded API server)', async () => {
    await using server = await LeaseApiServer.start();
    const api = new RawApi(server.kubeConfigYaml());
    const path = RawApi.leases('default');
    const old = await writeTwice(api, path);
    server.compact();
    expect(await eventsSince(api, path, old)).toMatchObject(expired);
  });

  const real = inject('kubeApiserver');
  const reason =
    'started' in real ? '' : '; skipped: it is not ours to restart';
  it.skipIf(reason !== '')(
    `ends a watch with an error in the stream (real API server, restarted${reason})`,
    async () => {
      await using server = await startKubeApiserver();
      const namespace = `test-${randomUUID()}`;
      await new KubeClient(server.kubeConfig()).createNamespace(namespace);
      const api = new RawApi(server.kubeConfig());
      const path = RawApi.leases(namespace);
      const old = await writeTwice(api, path);
      await server.restart('SIGKILL');
      expect(await eventsSince(api, path, old)).toMatchObject(expired);
    },
    START_TIMEOUT,
  );
});
