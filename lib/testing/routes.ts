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

const COLLECTION = ['GET', 'POST'];
const ALL_NAMESPACES = ['GET'];
const OBJECT = ['GET', 'PUT', 'PATCH', 'DELETE'];
const REVIEW = ['POST'];

function place(path: string): Place {
  const [, root, group = '', version, ...rest] = path.split('/').map(decoded);
  const [first, namespace, resource, name] = rest;
  if (root === 'apis' && version === 'v1') {
    if (
      group === 'authorization.k8s.io' &&
      rest.length === 1 &&
      first === 'selfsubjectaccessreviews'
    ) {
      return { group, resource: first, methods: REVIEW };
    }
    if (group === 'coordination.k8s.io') {
      if (rest.length === 1 && first === 'leases') {
        return { group, resource: first, methods: ALL_NAMESPACES };
      }
      if (first === 'namespaces' && namespace && resource === 'leases') {
        if (rest.length === 3 || name === '') {
          return { group, resource, namespace, methods: COLLECTION };
        }
        if (rest.length === 4 && name !== undefined) {
          return { group, resource, namespace, name, methods: OBJECT };
        }
      }
    }
  }
  return { group: '', resource: path, methods: [] };
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
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
