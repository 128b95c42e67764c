/** What a request is about: its path and method in the API server's terms. */
import type { RequestVerb } from './requests.js';
import { flag } from './request-options.js';
import { selectedName } from './selectors.js';

/** A request line, understood. */
export interface Route {
  path: string;
  query: URLSearchParams;
  verb: RequestVerb;
  /** Empty for what is no resource, such as `/version`. */
  group: string;
  /** `leases`, `selfsubjectaccessreviews`; the path of what is no resource. */
  resource: string;
  namespace?: string;
  /** From the path, or from `fieldSelector=metadata.name=…`: rights can be given by name either way. */
  name?: string;
  /** Which methods there are; none where there is no such resource. */
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
