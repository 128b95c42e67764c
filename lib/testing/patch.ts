/** Applies JSON Merge Patch (RFC 7396), and JSON Patch (RFC 6902) without the operations copy and move. */
import { isObject } from './lease-codec.js';

/** An operation does not apply; the API server does not report which, nor why. */
export class PatchError extends Error {}

/** RFC 7396: objects are merged, null removes, everything else replaces. */
export function mergePatch(
  target: unknown,
  patch: Record<string, unknown>,
): Record<string, unknown> {
  const result: Record<string, unknown> = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) {
      delete result[key];
    } else {
      result[key] = isObject(value) ? mergePatch(result[key], value) : value;
    }
  }
  return result;
}

type Container = Record<string, unknown> | unknown[];

const isContainer = (value: unknown): value is Container =>
  typeof value === 'object' && value !== null;

const valueAt = (parent: Container, key: string): unknown =>
  Array.isArray(parent) ? parent[Number(key)] : parent[key];

/** The target of a pointer: its container and its key. */
function locate(document: Container, pointer: string): [Container, string] {
  const keys = pointer
    .split('/')
    .slice(1)
    .map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'));
  const key = keys.pop();
  let parent: unknown = document;
  for (const each of keys) {
    parent = isContainer(parent) ? valueAt(parent, each) : undefined;
  }
  // The whole document cannot be the target.
  if (key === undefined || !isContainer(parent)) {
    throw new PatchError();
  }
  return [parent, key];
}

function apply(document: Container, operation: unknown): void {
  if (!isObject(operation) || typeof operation['path'] !== 'string') {
    throw new PatchError();
  }
  const { op, path, value } = operation;
  const [parent, key] = locate(document, path);
  const present = valueAt(parent, key);
  if ((op === 'test' || op === 'remove') && present === undefined) {
    throw new PatchError();
  }
  switch (op) {
    case 'test':
      if (JSON.stringify(present) !== JSON.stringify(value)) {
        throw new PatchError();
      }
      return;
    case 'remove':
      change(parent, key, 1);
      return;
    case 'add':
      change(parent, key, 0, value);
      return;
    case 'replace':
      // Replacing a missing member adds it.
      change(parent, key, 1, value);
      return;
    default:
      throw new PatchError();
  }
}

/** Takes `removed` elements out of a list and puts the value there; of an object it sets or removes the field. */
function change(
  parent: Container,
  key: string,
  removed: number,
  ...value: unknown[]
): void {
  if (Array.isArray(parent)) {
    parent.splice(key === '-' ? parent.length : Number(key), removed, ...value);
  } else if (value.length > 0) {
    parent[key] = value[0];
  } else {
    delete parent[key];
  }
}

/** RFC 6902. @throws {@link PatchError} if an operation does not apply. */
export function jsonPatch(
  target: Record<string, unknown>,
  operations: unknown[],
): Record<string, unknown> {
  const document = structuredClone(target);
  for (const operation of operations) {
    apply(document, operation);
  }
  return document;
}
