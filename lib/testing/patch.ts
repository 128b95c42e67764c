/** Applies JSON Merge Patch (RFC 7396), and JSON Patch (RFC 6902) without the operations copy and move. */
import { isDeepStrictEqual } from 'node:util';
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
  Array.isArray(parent)
    ? parent[Number(key)]
    : Object.hasOwn(parent, key)
      ? parent[key]
      : undefined;

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
  if (Array.isArray(parent) && !hasPlace(parent, key, op === 'add')) {
    throw new PatchError();
  }
  const present = valueAt(parent, key);
  switch (op) {
    case 'test':
      // The API server takes an absent member for null.
      if (!isDeepStrictEqual(present ?? null, value ?? null)) {
        throw new PatchError();
      }
      return;
    case 'remove':
      if (present === undefined) {
        throw new PatchError();
      }
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

/** Whether a list has an element of this index; one is added at its end too. */
function hasPlace(list: unknown[], key: string, isNew: boolean): boolean {
  const places = list.length + (isNew ? 1 : 0);
  return (isNew && key === '-') || (/^\d+$/.test(key) && Number(key) < places);
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
