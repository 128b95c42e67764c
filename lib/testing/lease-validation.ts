/** Validates a Lease by the API server's rules, with the API server's messages. */
import type { StatusCause } from './api-status.js';
import type {
  DecodedLease,
  MetadataFields,
  SpecFields,
} from './lease-codec.js';

const MAX_NAME = 253;
const MAX_LABEL = 63;
const MAX_ANNOTATIONS_BYTES = 256 * 1024;

const LABEL_1123 = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const SUBDOMAIN_1123 = `${LABEL_1123}(\\.${LABEL_1123})*`;
const KEY = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]';
const VALUE = `(${KEY})?`;

const patterns = {
  label: new RegExp(`^${LABEL_1123}$`),
  subdomain: new RegExp(`^${SUBDOMAIN_1123}$`),
  key: new RegExp(`^${KEY}$`),
  value: new RegExp(`^${VALUE}$`),
};

const bytes = (value: string) => Buffer.byteLength(value);
const tooLong = (max: number, unit = 'bytes') =>
  `must be no more than ${max} ${unit}`;
const regexp = (rule: string, pattern: string, ...examples: string[]) =>
  `${rule} (e.g. ${examples.map((example) => `'${example}', `).join(' or ')}regex used for validation is '${pattern}')`;

function subdomainFaults(value: string): string[] {
  const faults: string[] = [];
  if (bytes(value) > MAX_NAME) {
    faults.push(tooLong(MAX_NAME, 'characters'));
  }
  if (!patterns.subdomain.test(value)) {
    faults.push(
      regexp(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        SUBDOMAIN_1123,
        'example.com',
      ),
    );
  }
  return faults;
}

function namespaceFaults(value: string): string[] {
  const faults: string[] = [];
  if (bytes(value) > MAX_LABEL) {
    faults.push(tooLong(MAX_LABEL, 'characters'));
  }
  if (!patterns.label.test(value)) {
    faults.push(
      regexp(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
        LABEL_1123,
        'my-name',
        '123-abc',
      ),
    );
  }
  return faults;
}

function qualifiedNameFaults(value: string): string[] {
  const rule =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
  const parts = value.split('/');
  if (parts.length > 2) {
    return [
      `a valid label key ${regexp(rule, KEY, 'MyName', 'my.name', '123-abc')} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ];
  }
  const name = parts.at(-1)!;
  const faults: string[] = [];
  if (parts.length === 2) {
    const found =
      parts[0] === '' ? ['must be non-empty'] : subdomainFaults(parts[0]!);
    faults.push(...found.map((fault) => `prefix part ${fault}`));
  }
  if (name === '') {
    faults.push('name part must be non-empty');
  } else if (bytes(name) > MAX_LABEL) {
    faults.push(`name part ${tooLong(MAX_LABEL)}`);
  }
  if (!patterns.key.test(name)) {
    faults.push(
      `name part ${regexp(rule, KEY, 'MyName', 'my.name', '123-abc')}`,
    );
  }
  return faults;
}

function labelValueFaults(value: string): string[] {
  const faults: string[] = [];
  if (bytes(value) > MAX_LABEL) {
    faults.push(tooLong(MAX_LABEL));
  }
  if (!patterns.value.test(value)) {
    faults.push(
      regexp(
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        VALUE,
        'MyValue',
        'my_value',
        '12345',
      ),
    );
  }
  return faults;
}

/** `Invalid value`, as the API server words it. */
export function invalidValue(
  field: string,
  value: unknown,
  rule: string,
): StatusCause {
  return {
    reason: 'FieldValueInvalid',
    message: `Invalid value: ${JSON.stringify(value)}: ${rule}`,
    field,
  };
}

function metadataCauses(
  metadata: Partial<MetadataFields>,
  isNew: boolean,
): StatusCause[] {
  const causes: StatusCause[] = [];
  const check = (field: string, value: string, faults: string[]) => {
    causes.push(...faults.map((fault) => invalidValue(field, value, fault)));
  };
  if (isNew) {
    const { name = '', generateName = '', namespace = '' } = metadata;
    if (generateName !== '') {
      // A trailing dash is allowed, since characters follow it in the generated name.
      const prefix = generateName.replace(/.-$/, 'a');
      check('metadata.generateName', generateName, subdomainFaults(prefix));
    }
    if (name === '') {
      causes.push({
        reason: 'FieldValueRequired',
        message: 'Required value: name or generateName is required',
        field: 'metadata.name',
      });
    } else {
      check('metadata.name', name, subdomainFaults(name));
    }
    check('metadata.namespace', namespace, namespaceFaults(namespace));
  }
  const { generation = 0 } = metadata;
  if (generation < 0) {
    causes.push(
      invalidValue(
        'metadata.generation',
        generation,
        'must be greater than or equal to 0',
      ),
    );
  }
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    check('metadata.labels', key, qualifiedNameFaults(key));
    check('metadata.labels', value, labelValueFaults(value));
  }
  let size = 0;
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    check('metadata.annotations', key, qualifiedNameFaults(key.toLowerCase()));
    size += bytes(key) + bytes(value);
  }
  if (size > MAX_ANNOTATIONS_BYTES) {
    causes.push({
      reason: 'FieldValueTooLong',
      message: `Too long: may not be more than ${MAX_ANNOTATIONS_BYTES} bytes`,
      field: 'metadata.annotations',
    });
  }
  causes.push(...ownerReferenceCauses(metadata));
  for (const finalizer of metadata.finalizers ?? []) {
    check('metadata.finalizers', finalizer, qualifiedNameFaults(finalizer));
  }
  return causes;
}

function ownerReferenceCauses({
  ownerReferences = [],
}: Partial<MetadataFields>): StatusCause[] {
  const causes: StatusCause[] = [];
  for (const [i, reference] of ownerReferences.entries()) {
    for (const field of ['apiVersion', 'kind', 'name', 'uid'] as const) {
      if (reference[field] === undefined) {
        causes.push({
          reason: 'FieldValueRequired',
          message: 'Required value: must not be empty',
          field: `metadata.ownerReferences[${i}].${field}`,
        });
      }
    }
  }
  return causes;
}

function specCauses({
  leaseDurationSeconds,
  leaseTransitions,
  strategy,
  preferredHolder,
}: Partial<SpecFields>): StatusCause[] {
  const causes: StatusCause[] = [];
  if (leaseDurationSeconds !== undefined && leaseDurationSeconds <= 0) {
    causes.push(
      invalidValue(
        'spec.leaseDurationSeconds',
        leaseDurationSeconds,
        'must be greater than 0',
      ),
    );
  }
  if (leaseTransitions !== undefined && leaseTransitions < 0) {
    causes.push(
      invalidValue(
        'spec.leaseTransitions',
        leaseTransitions,
        'must be greater than or equal to 0',
      ),
    );
  }
  if (strategy !== undefined) {
    causes.push(...strategyCauses(strategy));
  }
  if (preferredHolder && !strategy) {
    causes.push({
      reason: 'FieldValueForbidden',
      message: 'Forbidden: may only be specified if `strategy` is defined',
      field: 'spec.preferredHolder',
    });
  }
  return causes;
}

function strategyCauses(strategy: string): StatusCause[] {
  const field = 'spec.strategy.strategy';
  if (strategy.includes('/')) {
    return qualifiedNameFaults(strategy).map((fault) =>
      invalidValue(field, strategy, fault),
    );
  }
  if (strategy === 'OldestEmulationVersion') {
    return [];
  }
  return [
    {
      reason: 'FieldValueNotSupported',
      message: `Unsupported value: ${JSON.stringify(strategy)}: supported values: "OldestEmulationVersion"`,
      field,
    },
  ];
}

/** Every rule that the Lease breaks; empty if it is valid. The name is checked only on creation. */
export function validateLease(
  { metadata, spec }: Pick<DecodedLease, 'metadata' | 'spec'>,
  { isNew }: { isNew: boolean },
): StatusCause[] {
  return [...metadataCauses(metadata, isNew), ...specCauses(spec)];
}
