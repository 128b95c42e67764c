/** The FlowSchema of the manifests takes the requests of locks to their own priority level, and no others. */
import { randomUUID } from 'node:crypto';
import { describe, expect, inject, it } from 'vitest';
import { KubeClient, type KubeObject } from '../kube-client.js';
import { eventually } from '../support/eventually.js';
import {
  applyFor,
  NAMESPACE,
  readManifests,
  type Manifest,
} from './manifests.js';

const GROUP = '/apis/flowcontrol.apiserver.k8s.io/v1';
const REVIEWS = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
/** Which FlowSchema a request was assigned to, by the header of the answer. */
const HEADER = 'x-kubernetes-pf-flowschema-uid';

const real = inject('kubeApiserver');

/** Applies the manifests for another namespace, under another name, and refuses fields that are not known. */
async function applyFlowSchema(admin: KubeClient, namespace: string) {
  const name = `locks-${randomUUID()}`;
  const manifests: Manifest[] = JSON.parse(
    JSON.stringify(readManifests('kustomize/base/flow-schema'))
      .replaceAll(`"${NAMESPACE}"`, `"${namespace}"`)
      .replaceAll('"name":"locks"', `"name":"${name}"`),
  );
  const made: { path: string; object: KubeObject }[] = [];
  for (const manifest of manifests) {
    const path = `${GROUP}/${manifest.kind.toLowerCase()}s`;
    const { status, body } = await admin.request(
      'POST',
      `${path}?fieldValidation=Strict`,
      manifest,
    );
    if (status !== 201) {
      throw new Error(`${path}: ${JSON.stringify(body)}`);
    }
    made.push({ path: `${path}/${name}`, object: body });
  }
  return {
    flowSchema: made.at(-1)!,
    async [Symbol.asyncDispose]() {
      for (const { path } of made) {
        await admin.request('DELETE', path);
      }
    },
  };
}

describe.skipIf(real === undefined)('on the real API server', () => {
  it('requests about Leases of the service account go to the priority level of locks', async () => {
    const admin = new KubeClient(real!.kubeConfig);
    const { namespace, kubeConfig, remove } = await applyFor(
      'api',
      real!.kubeConfig,
      readManifests('kustomize/base/any-lock'),
    );
    await using applied = await applyFlowSchema(admin, namespace);
    const { path, object } = applied.flowSchema;
    const account = new KubeClient(kubeConfig.exportConfig());
    const leases = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
    // The API server follows the objects with a watch, a moment behind.
    await eventually(async () => {
      const { status, headers } = await account.request('GET', leases);
      expect(status).toBe(200);
      expect(headers[HEADER]).toBe(object.metadata.uid);
    });
    const review = await account.request('POST', REVIEWS, {
      spec: { resourceAttributes: { namespace, verb: 'get' } },
    });
    expect(review.headers[HEADER]).toEqual(expect.any(String));
    expect(review.headers[HEADER]).not.toBe(object.metadata.uid);
    await eventually(async () => {
      const { body } = await admin.request<{
        status: { conditions?: { type: string; status: string }[] };
      }>('GET', path);
      expect(body.status.conditions).toContainEqual(
        expect.objectContaining({ type: 'Dangling', status: 'False' }),
      );
    });
    await remove();
  });
});

it('names the account and the namespace of the other manifests', () => {
  const [level, schema] = readManifests('kustomize/base/flow-schema');
  expect(schema).toMatchObject({
    spec: {
      priorityLevelConfiguration: { name: level?.metadata.name },
      rules: [
        {
          subjects: [{ serviceAccount: { name: 'api', namespace: NAMESPACE } }],
          resourceRules: [{ namespaces: [NAMESPACE] }],
        },
      ],
    },
  });
});
