/** Arbitrary JSON as text, so that nothing is lost on the way: huge numbers, keys given twice, `__proto__`; and Leases made of it. */
import * as fc from 'fast-check';
import { HOSTILE_TEXTS } from './hostile-text.js';

const KNOWN_SPEC_FIELDS = [
  'holderIdentity',
  'leaseDurationSeconds',
  'acquireTime',
  'renewTime',
  'leaseTransitions',
  'strategy',
];

/** Without the longest: they cost time, and other tests have them. */
const hostileText = fc.constantFrom(
  ...Object.values(HOSTILE_TEXTS).filter(({ length }) => length < 1_000),
);

/** Any text at all, lone surrogates and control characters included. */
export const text = fc.oneof(
  hostileText,
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.string({ maxLength: 20 }),
);

/** Numbers that a double holds, and that come back as they went. */
const exactNumber = fc.oneof(
  fc.integer(),
  fc.constantFrom(0, 1, -1, 1.5, 2 ** 31 - 1, 2 ** 31, Number.MAX_SAFE_INTEGER),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
const numberText = fc.oneof(
  exactNumber.map((value) => JSON.stringify(value)),
  fc.constantFrom(
    '-0',
    '0.0',
    '1e400',
    '-1e400',
    '1e-400',
    '9007199254740993',
    '123456789012345678901234567890',
    '1E+2',
  ),
);

const key = fc.oneof(
  fc.constantFrom(
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'toJSON',
    'then',
    'metadata',
    'spec',
    ...KNOWN_SPEC_FIELDS,
  ),
  text,
);

function objectOf(entries: readonly (readonly [string, string])[]): string {
  const members = entries.map(
    ([name, value]) => `${JSON.stringify(name)}:${value}`,
  );
  return `{${members.join(',')}}`;
}

/** JSON text, with these numbers in it. */
function jsonOf(numbers: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const { json } = fc.letrec<{ json: string }>((tie) => ({
    json: fc.oneof(
      { maxDepth: 3, withCrossShrink: true },
      fc.oneof(
        fc.constantFrom('null', 'true', 'false', '""', '{}', '[]'),
        numbers,
        text.map((value) => JSON.stringify(value)),
      ),
      fc
        .array(tie('json'), { maxLength: 3 })
        .map((items) => `[${items.join(',')}]`),
      fc.array(fc.tuple(key, tie('json')), { maxLength: 4 }).map(objectOf),
    ),
  }));
  return json;
}

/** Any JSON at all. */
export const anyJson = jsonOf(numberText);
/** JSON whose numbers come back as they went. */
const exactJson = jsonOf(exactNumber.map((value) => JSON.stringify(value)));

/** A value that belongs there, or now and then anything. */
const rather = (value: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.oneof({ weight: 5, arbitrary: value }, { weight: 1, arbitrary: anyJson });

const json = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<string> =>
  values.map((value) => JSON.stringify(value));

const holder = json(
  fc.oneof(
    fc.constantFrom('stranger', '', ' ', null, 'NaN', '0', 'null', 'false'),
    text,
  ),
);
const seconds = json(
  fc.oneof(
    fc.constantFrom(null, 0, 1, 15, -5, 2 ** 31 - 1, 2 ** 31, 2 ** 53 - 1),
    fc.integer(),
  ),
);
const time = json(
  fc.oneof(
    fc.constantFrom(
      null,
      '',
      '2026-01-01T00:00:00.000000Z',
      '+275760-09-13T00:00:00.001Z',
      '-271821-04-19T23:59:59.999Z',
      'NaN',
      '1e400',
    ),
    text,
  ),
);
const count = json(
  fc.oneof(
    fc.constantFrom(null, 0, -1, 2 ** 31 - 2, 2 ** 31 - 1, 2 ** 53 - 1),
    fc.nat(),
  ),
);

interface Shape {
  readonly name: string;
  readonly uid: fc.Arbitrary<string>;
  readonly version: fc.Arbitrary<string>;
}

const ANNOTATIONS = [
  'nestjs-k8s-lock/acquired-at',
  'nestjs-k8s-lock/fire',
  'nestjs-k8s-lock/name',
  'nestjs-k8s-lock/parked-by',
];

/** Values of annotations as this package writes them, and others. */
const annotation = fc.oneof(
  fc.constantFrom(
    'stranger',
    '2026-01-01T00:00:00.000Z begun by stranger',
    '+275760-09-13T00:00:00.000Z done by stranger',
    '2026-01-01T00:00:00.000000Z by stranger',
  ),
  text,
);

function textsOf(
  values: fc.Arbitrary<string>,
  names: readonly string[],
): fc.Arbitrary<string> {
  return fc
    .array(
      fc.tuple(fc.oneof(fc.constantFrom('team', ...names), key), json(values)),
      { maxLength: 4 },
    )
    .map(objectOf);
}

/** The text of a Lease; each field goes through `field`, and what is unknown is of `stranger`. */
function leaseOf(
  { name, uid, version }: Shape,
  field: (value: fc.Arbitrary<string>) => fc.Arbitrary<string>,
  stranger: fc.Arbitrary<string>,
): fc.Arbitrary<string> {
  const strangers = (known: readonly string[]) =>
    fc.array(
      fc.tuple(
        key.filter((each) => !known.includes(each)),
        stranger,
      ),
      { maxLength: 2 },
    );
  const maybe = (
    each: string,
    value: fc.Arbitrary<string>,
  ): fc.Arbitrary<[string, string][]> =>
    fc
      .option(field(value), { freq: 5 })
      .map((found) => (found === null ? [] : [[each, found]]));
  const spec = fc
    .tuple(
      strangers(KNOWN_SPEC_FIELDS),
      maybe('holderIdentity', holder),
      maybe('leaseDurationSeconds', seconds),
      maybe('acquireTime', time),
      maybe('renewTime', time),
      maybe('leaseTransitions', count),
    )
    .map((parts) => objectOf(parts.flat()));
  const metadata = fc
    .tuple(
      strangers([
        'name',
        'namespace',
        'uid',
        'resourceVersion',
        'annotations',
        'labels',
      ]),
      field(fc.constant(JSON.stringify(name))).map((value) => [
        ['name', value] as const,
      ]),
      field(json(uid)).map((value) => [['uid', value] as const]),
      field(json(version)).map((value) => [
        ['resourceVersion', value] as const,
      ]),
      maybe('namespace', fc.constant('"default"')),
      maybe('annotations', textsOf(annotation, ANNOTATIONS)),
      maybe('labels', textsOf(text, ['app.kubernetes.io/managed-by'])),
    )
    .map((parts) => objectOf(parts.flat()));
  return fc
    .tuple(
      strangers(['metadata', 'spec', 'apiVersion', 'kind']),
      field(metadata).map((value) => [['metadata', value] as const]),
      maybe(
        'spec',
        fc.oneof({ weight: 9, arbitrary: spec }, fc.constant('null')),
      ),
    )
    .map((parts) => objectOf(parts.flat()));
}

/** A Lease as an API server may store it, with fields that this package knows nothing of. */
export function wellFormedLease(shape: Shape): fc.Arbitrary<string> {
  return leaseOf(shape, (value) => value, exactJson);
}

/** What looks like a Lease, and may have anything in the place of any field. */
export function nearLease(shape: Shape): fc.Arbitrary<string> {
  return leaseOf(shape, rather, anyJson);
}
