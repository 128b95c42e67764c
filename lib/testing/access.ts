/** Authenticates bearer tokens, authorizes requests, and answers SelfSubjectAccessReviews. */
import { ApiError, badRequest } from './api-status.js';
import { isObject, parseJson } from './lease-codec.js';

/** One access to authorize. */
export interface Access {
  user: string;
  /** `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`. */
  verb: string;
  /** API group, for instance `coordination.k8s.io`. */
  group: string;
  /** For instance `leases`. */
  resource: string;
  /** Absent for all namespaces. */
  namespace?: string;
  /** Absent if the verb is not about one object. */
  name?: string;
}

export interface AccessOptions {
  /** Bearer token to user. Default: every token is accepted, and names its user. */
  tokens?: ReadonlyMap<string, string>;
  /** Default: every access is allowed. */
  allow?: (access: Access) => boolean;
}

const ANONYMOUS = 'system:anonymous';

/** The user of an Authorization header, anonymous without one; undefined if the token is unknown. */
export function authenticate(
  header: string | undefined,
  { tokens }: AccessOptions,
): string | undefined {
  if (header === undefined) {
    return ANONYMOUS;
  }
  const token = header.replace(/^Bearer /, '');
  return tokens ? tokens.get(token) : token;
}

/** On a server with `tokens`, anonymous requests may do nothing. */
function isAllowed(access: Access, { tokens, allow }: AccessOptions): boolean {
  if (tokens && access.user === ANONYMOUS) {
    return false;
  }
  return allow?.(access) ?? true;
}

/** @throws {@link ApiError} 403 if the access is not allowed. */
export function authorize(access: Access, options: AccessOptions): void {
  if (isAllowed(access, options)) {
    return;
  }
  const { user, verb, group, resource, namespace, name } = access;
  const scope =
    namespace === undefined
      ? 'at the cluster scope'
      : `in the namespace "${namespace}"`;
  const which = name === undefined ? '' : ` "${name}"`;
  throw new ApiError(
    403,
    'Forbidden',
    `${resource}.${group}${which} is forbidden: User "${user}" cannot ${verb} resource "${resource}" in API group "${group}" ${scope}`,
    { ...(name !== undefined && { name }), group, kind: resource },
  );
}

/** Answers a SelfSubjectAccessReview. @returns the review with its status. */
export function reviewAccess(
  user: string,
  body: string,
  options: AccessOptions,
): string {
  const review = parseJson(body);
  const spec =
    isObject(review) && isObject(review['spec']) ? review['spec'] : {};
  const attributes = spec['resourceAttributes'];
  if (!isObject(attributes)) {
    throw badRequest('spec.resourceAttributes: must be an object');
  }
  const attribute = (field: string) => {
    const value = attributes[field];
    return typeof value === 'string' ? value : '';
  };
  const namespace = attribute('namespace');
  const name = attribute('name');
  const access: Access = {
    user,
    verb: attribute('verb'),
    group: attribute('group'),
    resource: attribute('resource'),
    ...(namespace !== '' && { namespace }),
    ...(name !== '' && { name }),
  };
  return JSON.stringify({
    kind: 'SelfSubjectAccessReview',
    apiVersion: 'authorization.k8s.io/v1',
    metadata: {},
    spec: { resourceAttributes: attributes },
    status: { allowed: isAllowed(access, options) },
  });
}
