/** Parses the label and field selectors of a list or a watch. */
import type { StoredLease } from '../kube/lease-store.js';
import { badRequest } from './api-status.js';

export type Selects = (lease: StoredLease) => boolean;

const REQUIREMENT =
  /^\s*(?:!\s*(?<absent>[^\s=!,()]+)|(?<key>[^\s=!,()]+)\s*(?:(?<operator>==|=|!=)\s*(?<value>[^\s=!,()]*)|(?<set>in|notin)\s*\((?<values>[^()]*)\))?)\s*$/;

/** Splits at the commas that are not within parentheses. */
const requirementsOf = (selector: string): string[] =>
  selector === '' ? [] : selector.split(/,(?![^()]*\))/);

const label = (lease: StoredLease, name: string) =>
  lease.metadata.labels?.[name];

function labelRequirement(source: string): Selects {
  const found = REQUIREMENT.exec(source)?.groups;
  if (!found) {
    throw badRequest(`unable to parse requirement: ${source}`);
  }
  const { absent, key, operator, value, set, values } = found;
  if (absent !== undefined) {
    return (lease) => label(lease, absent) === undefined;
  }
  if (operator !== undefined) {
    return operator === '!='
      ? (lease) => label(lease, key!) !== value
      : (lease) => label(lease, key!) === value;
  }
  if (set === undefined) {
    return (lease) => label(lease, key!) !== undefined;
  }
  const among = new Set(values!.split(',').map((each) => each.trim()));
  return (lease) => {
    const has = label(lease, key!);
    return (has !== undefined && among.has(has)) === (set === 'in');
  };
}

interface FieldRequirement {
  field: 'metadata.name' | 'metadata.namespace';
  equal: boolean;
  value: string;
}

function fieldRequirement(source: string): FieldRequirement {
  const [, field, operator, value] =
    /^([^=!]+)(==|=|!=)(.*)$/.exec(source) ?? [];
  if (field === undefined) {
    throw badRequest(
      `invalid selector: '${source}'; can't understand '${source}'`,
    );
  }
  if (field !== 'metadata.name' && field !== 'metadata.namespace') {
    throw badRequest(
      `"${field}" is not a known field selector: only "metadata.name", "metadata.namespace"`,
    );
  }
  return { field, equal: operator !== '!=', value: value! };
}

/** The name that a field selector requires, if any; it counts as the request's name. */
export function selectedName(fieldSelector: string | null): string | undefined {
  return /(?:^|,)metadata\.name==?([^,]*)/.exec(fieldSelector ?? '')?.[1];
}

/** Both selectors as one predicate. @throws 400 if they are invalid. */
export function parseSelectors(
  labelSelector: string | null,
  fieldSelector: string | null,
): Selects {
  const labels = requirementsOf(labelSelector ?? '').map(labelRequirement);
  const fields = requirementsOf(fieldSelector ?? '').map(fieldRequirement);
  return (lease) =>
    labels.every((selects) => selects(lease)) &&
    fields.every(({ field, equal, value }) => {
      const { name, namespace } = lease.metadata;
      return (
        ((field === 'metadata.name' ? name : namespace) === value) === equal
      );
    });
}
