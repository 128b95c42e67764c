/** Parses the path and method of a request into the API server's terms. */
import type { RequestVerb } from './requests.js';
import { flag } from './request-options.js';
import { selectedName } from './selectors.js';

/** A parsed request line. */
export interface Route {
  path: string;
  query: URLSearchParams;
  verb: RequestVerb;
  /** Empty if the path is no resource, such as `/version`. */
  group: string;
  /** `leases`, `selfsubjectaccessreviews`; the path itself if it is no resource. */
  resource: string;
  namespace?: string;
  /** From the path, or from `fieldSelector=metadata.name=…`; rights by name apply to both. */
  name?: string;
  /** The supported methods; empty if there is no such resource. */
  methods: readonly string[];
}

type Place = Pick<
  Route,
  'group' | 'resource' | 'namespace' | 'name' | 'methods'
>;

const LEASES =
  /^\/apis\/coordination\.k8s\.io\/v1(?:\/namespaces\/([^/]+))?\/leases(?:\/([^/]*))?$/;
const REVIEWS = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';

const OBJECT = ['GET', 'PUT', 'PATCH', 'DELETE'];

function place(path: string): Place {
  if (path === REVIEWS) {
    const resource = 'selfsubjectaccessreviews';
    return { group: 'authorization.k8s.io', resource, methods: ['POST'] };
  }
  const [isLeases, namespace, name] = (LEASES.exec(path) ?? []).map(decoded);
  if (!isLeases || (name && !namespace)) {
    return { group: '', resource: path, methods: [] };
  }
  const leases = { group: 'coordination.k8s.io', resource: 'leases' };
  if (!namespace) {
    return { ...leases, methods: ['GET'] };
  }
  return name
    ? { ...leases, namespace, name, methods: OBJECT }
    : { ...leases, namespace, methods: ['GET', 'POST'] };
}

function decoded(segment: string | undefined): string {
  try {
    return decodeURIComponent(segment ?? '');
  } catch {
    return segment ?? '';
  }
}

function verbOf(method: string, isObject: boolean, isWatch: boolean) {
  switch (method) {
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return 'delete';
    default:
      return isObject ? 'get' : isWatch ? 'watch' : 'list';
  }
}

export function route(method: string, url: string): Route {
  const cut = url.indexOf('?');
  const path = cut < 0 ? url : url.slice(0, cut);
  const query = new URLSearchParams(cut < 0 ? '' : url.slice(cut + 1));
  const found = place(path);
  const isObject = found.methods === OBJECT || found.methods.length === 0;
  const name = found.name ?? selectedName(query.get('fieldSelector'));
  return {
    ...found,
    path,
    query,
    verb: verbOf(method, isObject, flag(query, 'watch') ?? false),
    ...(name !== undefined && { name }),
  };
}
