/** R1 by content: the change of a record as a JSON Patch that applies only while the spec is the one that was judged. */
import { CLAIM } from './fire-claim.js';
import { EVICTED } from './lease-record.js';
import type {
  JsonPatchOperation,
  StoredLease,
} from '../../kube/lease-store.js';

const ANNOTATIONS = '/metadata/annotations';
const LABELS = '/metadata/labels';

/** The annotations that decide whether a write is still right. */
const COMPARED = [CLAIM, EVICTED] as const;

/** What a change by content compares: while it is the same, a write that was based on the record may be applied. Undefined without a record. */
export function comparedContent(
  lease: StoredLease | null | undefined,
): string | undefined {
  if (!lease) {
    return undefined;
  }
  const { metadata, spec } = lease;
  const annotations = COMPARED.map((key) => metadata.annotations?.[key]);
  return JSON.stringify([metadata.uid, spec, annotations]);
}

/**
 * R1, A36: the change from `before` to `after`. It fails if the spec, the fire claim or the mark of an eviction is another by
 * now; other annotations may change in between. So what it compares must never come back: a renewal, a release and a
 * grant compare the identity of their own holder, which is of one acquisition alone, and what takes a lock removes a
 * ticket, or compares such an identity.
 */
export function patchOf(
  before: StoredLease,
  after: StoredLease,
): JsonPatchOperation[] {
  const { metadata, spec } = before;
  return [
    testOf('/metadata/uid', metadata.uid),
    testOf('/spec', spec),
    ...(metadata.annotations ? COMPARED : []).map((key) =>
      testOf(pointer(ANNOTATIONS, key), metadata.annotations?.[key]),
    ),
    ...changesOf(ANNOTATIONS, metadata.annotations, after.metadata.annotations),
    ...changesOf(LABELS, metadata.labels, after.metadata.labels),
    ...changesOf('/spec', spec, after.spec),
  ];
}

/** Removes an annotation of this Lease; fails if there is none. */
export function removalOf(
  annotation: string,
  uid: string,
): JsonPatchOperation[] {
  return [
    testOf('/metadata/uid', uid),
    { op: 'remove', path: pointer(ANNOTATIONS, annotation) },
  ];
}

function testOf(path: string, value: unknown): JsonPatchOperation {
  return { op: 'test', path, value: value ?? null };
}

function changesOf(
  path: string,
  before: object | null | undefined,
  after: object | null | undefined,
): JsonPatchOperation[] {
  const [from, to] = [
    new Map(Object.entries(before ?? {})),
    Object.entries(after ?? {}),
  ];
  if (!before) {
    return to.length > 0
      ? [testOf(path, null), { op: 'add', path, value: Object.fromEntries(to) }]
      : [];
  }
  const kept = new Set(to.map(([key]) => key));
  return [
    ...to
      .filter(([key, value]) => from.get(key) !== value)
      .map(([key, value]) => ({
        op: 'add' as const,
        path: pointer(path, key),
        value,
      })),
    ...[...from.keys()]
      .filter((key) => !kept.has(key))
      .map((key) => ({ op: 'remove' as const, path: pointer(path, key) })),
  ];
}

/** RFC 6901. */
function pointer(path: string, key: string): string {
  return `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}
