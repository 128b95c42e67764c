/** The lock that one writes first: client-node's API as it stands, one call for each request, and polling. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ApiException,
  CoordinationV1Api,
  KubeConfig,
  V1MicroTime,
  type V1Lease,
} from '@kubernetes/client-node';
import { randomUUID } from 'node:crypto';

const RETRY = 10;

export interface NaiveLock {
  readonly holderIdentity: string;
  readonly fencingToken: bigint;
  release(): Promise<void>;
}

export class NaiveLocks {
  private readonly api: CoordinationV1Api;
  private readonly namespace: string;

  constructor(kubeConfigYaml: string) {
    const config = new KubeConfig();
    config.loadFromString(kubeConfigYaml);
    this.api = config.makeApiClient(CoordinationV1Api);
    this.namespace = config.getContextObject(config.currentContext)!.namespace!;
  }

  async acquire(
    name: string,
    { signal }: { signal: AbortSignal },
  ): Promise<NaiveLock> {
    const { api, namespace } = this;
    const holderIdentity = randomUUID();
    for (;;) {
      // oxlint-disable no-await-in-loop -- one request after the other
      signal.throwIfAborted();
      const lease = await this.read(name);
      if (lease.spec?.holderIdentity === undefined) {
        lease.spec = {
          holderIdentity,
          leaseDurationSeconds: 15,
          renewTime: new V1MicroTime(),
        };
        const taken = await this.replace(name, lease);
        if (taken) {
          const fencingToken = BigInt(taken.metadata!.resourceVersion!);
          const release = async (): Promise<void> => {
            taken.spec = {};
            await api.replaceNamespacedLease({ name, namespace, body: taken });
          };
          return { holderIdentity, fencingToken, release };
        }
      }
      await sleep(RETRY);
      // oxlint-enable no-await-in-loop
    }
  }

  private async read(name: string): Promise<V1Lease> {
    const { api, namespace } = this;
    try {
      return await api.readNamespacedLease({ name, namespace });
    } catch (error) {
      if (!isAnswer(error, 404)) {
        throw error;
      }
    }
    await api
      .createNamespacedLease({ namespace, body: { metadata: { name } } })
      .catch(() => undefined);
    return this.read(name);
  }

  /** @returns undefined when somebody else was faster */
  private async replace(
    name: string,
    body: V1Lease,
  ): Promise<V1Lease | undefined> {
    const { api, namespace } = this;
    try {
      return await api.replaceNamespacedLease({ name, namespace, body });
    } catch (error) {
      if (isAnswer(error, 409)) {
        return undefined;
      }
      throw error;
    }
  }
}

function isAnswer(error: unknown, code: number): boolean {
  return error instanceof ApiException && error.code === code;
}
