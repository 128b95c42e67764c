/** Validates a Lease by the API server's rules. */
import type { StatusCause } from './api-status.js';
import type { DecodedLease, MetadataFields } from './lease-codec.js';

const MAX_NAME = 253;
const MAX_LABEL = 63;
const MAX_ANNOTATIONS_BYTES = 256 * 1024;

const SUBDOMAIN =
  /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;

const isSubdomain = (value: string) =>
  value.length <= MAX_NAME && SUBDOMAIN.test(value);

const isLabelValue = (value: string) =>
  value === '' || (value.length <= MAX_LABEL && LABEL.test(value));

/** A name of at most 63 characters, after a subdomain and a slash if there is one. */
function isQualifiedName(value: string): boolean {
  const [name = '', prefix, ...more] = value.split('/').toReversed();
  return (
    more.length === 0 &&
    name !== '' &&
    isLabelValue(name) &&
    (prefix === undefined || isSubdomain(prefix))
  );
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

/** Every rule that the Lease breaks; empty if it is valid. The name is checked only on creation. */
export function validateLease(
  { metadata, spec }: DecodedLease,
  { isNew }: { isNew: boolean },
): StatusCause[] {
  const causes = isNew ? nameCauses(metadata) : [];
  const check = (isValid: boolean, ...fault: Parameters<typeof invalidValue>) =>
    isValid || causes.push(invalidValue(...fault));

  const { labels = {}, annotations = {} } = metadata;
  for (const [key, value] of Object.entries(labels)) {
    const field = 'metadata.labels';
    check(isQualifiedName(key), field, key, 'must be a qualified name');
    check(isLabelValue(value), field, value, 'must be a label value');
  }
  for (const key of Object.keys(annotations)) {
    check(
      isQualifiedName(key.toLowerCase()),
      'metadata.annotations',
      key,
      'must be a qualified name',
    );
  }
  if (sizeOf(annotations) > MAX_ANNOTATIONS_BYTES) {
    causes.push({
      reason: 'FieldValueTooLong',
      message: `Too long: may not be more than ${MAX_ANNOTATIONS_BYTES} bytes`,
      field: 'metadata.annotations',
    });
  }
  const { leaseDurationSeconds = 1, leaseTransitions = 0 } = spec;
  check(
    leaseDurationSeconds > 0,
    'spec.leaseDurationSeconds',
    leaseDurationSeconds,
    'must be greater than 0',
  );
  check(
    leaseTransitions >= 0,
    'spec.leaseTransitions',
    leaseTransitions,
    'must be greater than or equal to 0',
  );
  return causes;
}

function nameCauses({ name }: Partial<MetadataFields>): StatusCause[] {
  const field = 'metadata.name';
  if (!name) {
    const message = 'Required value: name or generateName is required';
    return [{ reason: 'FieldValueRequired', message, field }];
  }
  return isSubdomain(name)
    ? []
    : [invalidValue(field, name, 'must be a lowercase RFC 1123 subdomain')];
}

const sizeOf = (annotations: Record<string, string>) =>
  Object.entries(annotations)
    .flat()
    .reduce((size, part) => size + Buffer.byteLength(part), 0);
