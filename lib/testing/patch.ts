/** Applies JSON Merge Patch (RFC 7396) and JSON Patch (RFC 6902). */
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

interface Operation {
  op: string;
  path: string;
  from?: string;
  value?: unknown;
}

type Container = Record<string, unknown> | unknown[];

/** The target of a pointer: its container and its key. */
interface Place {
  parent: Container;
  key: string;
}

const isContainer = (value: unknown): value is Container =>
  typeof value === 'object' && value !== null;

const isOperation = (value: unknown): value is Operation =>
  isObject(value) &&
  typeof value['op'] === 'string' &&
  typeof value['path'] === 'string';

const valueAt = ({ parent, key }: Place): unknown =>
  Array.isArray(parent) ? parent[Number(key)] : parent[key];

function locate(document: Container, pointer: string): Place {
  const [first, ...rest] = pointer
    .split('/')
    .slice(1)
    .map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'));
  // The whole document cannot be the target.
  if (first === undefined) {
    throw new PatchError();
  }
  let place: Place = { parent: document, key: first };
  for (const key of rest) {
    const parent = valueAt(place);
    if (!isContainer(parent)) {
      throw new PatchError();
    }
    place = { parent, key };
  }
  return place;
}

function read(place: Place): unknown {
  const value = valueAt(place);
  if (value === undefined) {
    throw new PatchError();
  }
  return value;
}

function add({ parent, key }: Place, value: unknown): void {
  if (!Array.isArray(parent)) {
    parent[key] = value;
  } else {
    parent.splice(key === '-' ? parent.length : Number(key), 0, value);
  }
}

/** Replacing a missing member adds it. */
function replace({ parent, key }: Place, value: unknown): void {
  if (Array.isArray(parent)) {
    parent[Number(key)] = value;
  } else {
    parent[key] = value;
  }
}

/** @returns the removed value */
function remove(place: Place): unknown {
  const value = read(place);
  const { parent, key } = place;
  if (Array.isArray(parent)) {
    parent.splice(Number(key), 1);
  } else {
    delete parent[key];
  }
  return value;
}

function apply(document: Container, operation: Operation): void {
  const { op, path, from = '', value } = operation;
  const place = locate(document, path);
  switch (op) {
    case 'add':
      add(place, value);
      return;
    case 'remove':
      remove(place);
      return;
    case 'replace':
      replace(place, value);
      return;
    case 'copy':
      add(place, read(locate(document, from)));
      return;
    case 'move':
      add(place, remove(locate(document, from)));
      return;
    case 'test':
      if (JSON.stringify(read(place)) === JSON.stringify(value)) {
        return;
      }
  }
  throw new PatchError();
}

/** RFC 6902. @throws {@link PatchError} if an operation does not apply. */
export function jsonPatch(
  target: Record<string, unknown>,
  operations: unknown[],
): Record<string, unknown> {
  if (!operations.every(isOperation)) {
    throw new PatchError();
  }
  const document = structuredClone(target);
  for (const operation of operations) {
    apply(document, operation);
  }
  return document;
}
