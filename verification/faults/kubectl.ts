/** Does to Leases what people do by hand, straight at the API server: deletes them, overwrites and edits them. */
import { KubeClient } from '../../test/kube-client.js';
import type { LeaseRecord, LeaseWrite } from './evidence.js';
import { KUBECTL } from './evidence.js';
import { startWrite } from './lease-write.js';

/** The holders that are written by hand begin with this. */
export const BY_HAND = 'by-hand-';
/** The longest lease of a holder that is written by hand, in seconds: nobody frees a lock that it holds for ever. */
const LONGEST_HOLD = 4;
/** Somebody else may write in between. */
const MOST_TRIES = 10;

/** What is made of a record; undefined = it is deleted. */
export type Edit = (lease: LeaseRecord) => LeaseRecord | undefined;

export class Kubectl {
  private readonly client: KubeClient;
  private count = 0;

  constructor(
    kubeConfigYaml: string,
    private readonly namespace: string,
    /** Where what it does is noted. */
    private readonly writes: LeaseWrite[],
  ) {
    this.client = new KubeClient(kubeConfigYaml);
  }

  /** @returns undefined when there is none */
  async get(lease: string): Promise<LeaseRecord | undefined> {
    const path = this.pathOf(lease);
    const { status, body } = await this.client.request<LeaseRecord>(
      'GET',
      path,
    );
    if (status !== 200 && status !== 404) {
      throw new Error(`GET ${path} was answered ${status}`);
    }
    return status === 200 ? body : undefined;
  }

  /** @returns whether it was done: not if the Lease is missing, or keeps changing */
  async edit(lease: string, edit: Edit): Promise<boolean> {
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
      const found = await this.get(lease);
      if (found === undefined) {
        return false;
      }
      const { uid, resourceVersion } = found.metadata;
      const edited = edit(found);
      // oxlint-disable-next-line no-await-in-loop -- as above
      const isDone = await (edited
        ? this.send('PUT', lease, edited)
        : this.send('DELETE', lease, {
            preconditions: { uid, resourceVersion },
          }));
      if (isDone) {
        return true;
      }
    }
    return false;
  }

  /** Takes the lock away for somebody who will never renew it. */
  overwriteHolder(lease: string): Promise<boolean> {
    const holderIdentity = `${BY_HAND}${(this.count += 1)}`;
    return this.edit(lease, (found) => ({
      metadata: found.metadata,
      // A free record has no duration, and a holder without one holds for ever; that of a session has no end.
      spec: {
        ...found.spec,
        leaseDurationSeconds: Math.min(
          found.spec?.leaseDurationSeconds ?? 2,
          LONGEST_HOLD,
        ),
        holderIdentity,
      },
    }));
  }

  clearHolder(lease: string): Promise<boolean> {
    return this.edit(lease, (found) => ({
      ...found,
      spec: { ...found.spec, holderIdentity: undefined },
    }));
  }

  /** Leaves labels and annotations of its own. */
  editMetadata(lease: string): Promise<boolean> {
    const note = { [`example.com/note-${(this.count += 1)}`]: 'by-hand' };
    return this.edit(lease, ({ metadata, spec }) => ({
      metadata: {
        ...metadata,
        labels: { ...metadata.labels, ...note },
        annotations: { ...metadata.annotations, ...note },
      },
      spec,
    }));
  }

  /** Sets the time of the last renewal to long ago, which is nobody's business to believe. */
  editRenewTime(lease: string): Promise<boolean> {
    return this.edit(lease, (found) => ({
      ...found,
      spec: { ...found.spec, renewTime: '2001-01-01T00:00:00.000000Z' },
    }));
  }

  delete(lease: string): Promise<boolean> {
    return this.edit(lease, () => undefined);
  }

  private async send(
    method: string,
    lease: string,
    body: unknown,
  ): Promise<boolean> {
    const path = this.pathOf(lease);
    const content = Buffer.from(JSON.stringify(body));
    const request = { method, url: path };
    const answered = startWrite(this.writes, KUBECTL, request, content)!;
    const answer = await this.client.request(method, path, body);
    answered(answer.status, Buffer.from(JSON.stringify(answer.body)));
    return answer.status < 300;
  }

  private pathOf(lease: string): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${this.namespace}/leases/${lease}`;
  }
}
