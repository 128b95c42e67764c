/** R1 by content: the change of a record as a JSON Patch that applies only while the spec is the one that was judged. */
import { CLAIM } from './fire-claim.js';
import type {
  JsonPatchOperation,
  StoredLease,
} from '../../kube/lease-store.js';

const ANNOTATIONS = '/metadata/annotations';

/**
 * The change from `before` to `after`. It fails if the spec or the fire claim is another by now; other annotations
 * may change in between.
 */
export function patchOf(
  before: StoredLease,
  after: StoredLease,
): JsonPatchOperation[] {
  const { metadata, spec } = before;
  return [
    { op: 'test', path: '/metadata/uid', value: metadata.uid },
    testOf('/spec', spec),
    ...(metadata.annotations
      ? [testOf(pointer(ANNOTATIONS, CLAIM), metadata.annotations[CLAIM])]
      : []),
    ...changesOf(ANNOTATIONS, metadata.annotations, after.metadata.annotations),
    ...changesOf('/spec', spec, after.spec),
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
