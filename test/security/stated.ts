/** The holder of a record by R4, implemented independently of lib/: the oracle of the fuzz tests. */

/** `unclear`: it is no record that anybody could judge, so that nobody may. */
export type Stated =
  | { readonly state: 'free' }
  | {
      readonly state: 'held';
      readonly by: string;
      /** Seconds of silence after which it counts as expired; Infinity = never. */
      readonly seconds: number;
    }
  | { readonly state: 'unclear' };

/** @param record as JSON.parse() returns it */
export function statedBy(record: unknown): Stated {
  const spec = member(record, 'spec');
  if (spec === undefined || spec === null) {
    return isObject(record) ? { state: 'free' } : { state: 'unclear' };
  }
  if (!isObject(spec)) {
    return { state: 'unclear' };
  }
  const by = member(spec, 'holderIdentity');
  if (by === undefined || by === null || by === '') {
    return { state: 'free' };
  }
  if (typeof by !== 'string') {
    return { state: 'unclear' };
  }
  const seconds = member(spec, 'leaseDurationSeconds');
  const isSensible =
    Number.isInteger(seconds) &&
    Number(seconds) > 0 &&
    Number(seconds) < 2 ** 31 - 1;
  return {
    state: 'held',
    by,
    seconds: isSensible ? Number(seconds) : Infinity,
  };
}

/** A member of its own, whatever its prototype has. */
export function member(value: unknown, name: string): unknown {
  return isObject(value) && Object.hasOwn(value, name)
    ? value[name]
    : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
