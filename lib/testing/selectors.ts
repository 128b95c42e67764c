/** Parses the label and field selectors of a list or a watch: `key=value`, and of labels `key in (value,value)`. */
import type { StoredLease } from '../kube/lease-store.js';
import { badRequest } from './api-status.js';

export type Selects = (lease: StoredLease) => boolean;

const REQUIREMENT = /^([^=!\s]+)(?:==?([^=!\s]*)| in \(([^()\s]*)\))$/;

/** The requirements of a selector: a key, and the values that fit. @throws 400 when it can't be read. */
function requirementsOf(selector: string | null): [string, string[]][] {
  return (
    (selector || undefined)?.split(/,(?![^(]*\))/).map((requirement) => {
      const [, key, value = '', values] = REQUIREMENT.exec(requirement) ?? [];
      if (key === undefined) {
        throw badRequest(`the selector "${requirement}" is not understood`);
      }
      return [key, values?.split(',') ?? [value]];
    }) ?? []
  );
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
  const labels = requirementsOf(labelSelector);
  const fields = requirementsOf(fieldSelector);
  const unknown = fields.find(([field]) => field !== 'metadata.name');
  if (unknown) {
    throw badRequest(`"${unknown[0]}" is not a known field selector`);
  }
  return ({ metadata }) =>
    labels.every(([key, values]) =>
      values.some((value) => metadata.labels?.[key] === value),
    ) && fields.every(([, names]) => names.includes(metadata.name));
}
