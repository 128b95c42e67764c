/** The tests of a watch from a resourceVersion that has expired, for each API server. */
import { failure, HELD, type Json, type RawApi } from './raw-api.js';

/** Two versions of a Lease, the first of which the history is to forget. */
export async function writeTwice(api: RawApi, path: string): Promise<Json> {
  const created = await api.request('POST', path, {
    body: { metadata: { name: 'old' }, spec: HELD },
  });
  const spec = { ...HELD, leaseTransitions: 4 };
  const body = { ...created.body, spec };
  await api.request('PUT', `${path}/old`, { body });
  return created.body;
}

/** Everything that a watch from the version of this Lease reports until it ends. */
export async function eventsSince(
  api: RawApi,
  path: string,
  { metadata }: Json,
) {
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
export const expired = {
  code: 200,
  events: [{ type: 'ERROR', object: failure(410, 'Expired').body }],
};
