/** All the metadata of a method, its parameters and its class, less what @WithLeaseLock keeps there for itself. */
import type { Type } from '@nestjs/common';

const OURS = /nestjs-k8s-lock|@WithLeaseLock/;

/** Comparable: the classes of two runs may differ, if all that is written on them is the same. */
export function describeMetadata(type: Type, key: string): unknown {
  const method: (...args: unknown[]) => unknown = Reflect.get(
    type.prototype,
    key,
  );
  return {
    name: method.name,
    length: method.length,
    method: readAll(method),
    types: readAll(type.prototype, key),
    parameters: readAll(type, key),
    class: readAll(type),
  };
}

function readAll(target: object, key?: string): [string, unknown][] {
  return Reflect.getMetadataKeys(target, key!)
    .filter((metadataKey: unknown) => !OURS.test(String(metadataKey)))
    .map((metadataKey: unknown): [string, unknown] => [
      String(metadataKey),
      Reflect.getMetadata(metadataKey, target, key!),
    ])
    .filter(([, value]) => !isOfOurProperty(value))
    .toSorted(([a], [b]) => a.localeCompare(b));
}

/** Whether this is Nest's list of the properties to inject, with no other than that of @WithLeaseLock. */
function isOfOurProperty(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.length === 1 &&
    typeof value[0]?.key === 'symbol' &&
    OURS.test(String(value[0].key))
  );
}
