/** Reads the metadata of Nest's route decorators on controllers and handlers, by names that Nest does not export. */
import { RequestMethod } from '@nestjs/common';

const PATH = 'path';
const METHOD = 'method';
const ROUTE_ARGUMENTS = '__routeArguments__';
const PASSTHROUGH = '__responsePassthrough__';
const SSE = '__sse__';

/** Matches the keys of {@link ROUTE_ARGUMENTS} for parameters under `@Res()` and `@Next()`. */
const RESPONSE_OR_NEXT = /^[12]:/;

/** A method, by the prototype that declares it and its key. */
export interface Method {
  readonly prototype: object;
  readonly key: string | symbol;
}

/** Finds a method of a class and the prototype that declares it. Reads no accessors. */
export function findMethod(
  controller: object,
  key: string | symbol,
): { prototype: object; method: object } | undefined {
  for (const prototype of chainOf(controller)) {
    const descriptor = Object.getOwnPropertyDescriptor(prototype, key);
    if (descriptor !== undefined) {
      const method: unknown = descriptor.value;
      return typeof method === 'function' ? { prototype, method } : undefined;
    }
  }
  return undefined;
}

/**
 * The keys of the methods that may be the handler of a route: those with the longest matching path, since a
 * prefix and a version may precede the paths of the class and the method. There are several only for the
 * versions of one route.
 *
 * @param controller the prototype of the class
 * @param verb the verb of the request
 * @param pattern the web framework's path of the route
 */
export function findHandlers(
  controller: object,
  verb: string,
  pattern: string,
): (string | symbol)[] {
  const whole = `/${normalize(pattern)}`;
  let longest = 0;
  let found: (string | symbol)[] = [];
  for (const key of keysOf(controller)) {
    const method = findMethod(controller, key)?.method;
    if (method === undefined || !answersTo(method, verb)) {
      continue;
    }
    for (const path of pathsOf(controller.constructor, method)) {
      if (path.length >= longest && whole.endsWith(path && `/${path}`)) {
        found = path.length > longest ? [key] : [...found, key];
        longest = path.length;
      }
    }
  }
  return found;
}

/** Whether a handler is a route under `@Sse()`. */
export function isEventStream(handler: object): boolean {
  return Reflect.getMetadata(SSE, handler) === true;
}

/** Whether the handler sends the answer itself: it has `@Res()` or `@Next()` without `{ passthrough: true }`. */
export function answersByItself(
  { constructor }: object,
  key: string | symbol,
): boolean {
  const parameters: object =
    Reflect.getMetadata(ROUTE_ARGUMENTS, constructor, key) ?? {};
  return (
    Object.keys(parameters).some((each) => RESPONSE_OR_NEXT.test(each)) &&
    Reflect.getMetadata(PASSTHROUGH, constructor, key) !== true
  );
}

function answersTo(method: object, verb: string): boolean {
  const declared: unknown = Reflect.getMetadata(METHOD, method);
  return (
    typeof declared === 'number' &&
    [verb, verb === 'HEAD' ? 'GET' : verb, 'ALL'].includes(
      RequestMethod[declared] ?? '',
    )
  );
}

/** All paths of a method; none if it is not a route. */
function pathsOf(controller: object, method: object): string[] {
  const [bases, paths] = [controller, method].map((each): unknown[] => {
    const path: unknown = Reflect.getMetadata(PATH, each);
    return path === undefined ? [] : [path].flat();
  });
  return bases!.flatMap((base) =>
    paths!.map((path) => normalize(`${String(base)}/${String(path)}`)),
  );
}

/** Removes slashes at the ends, and writes every form of a wildcard as `*`. */
function normalize(path: string): string {
  return path
    .split('/')
    .filter((part) => part !== '')
    .map((part) => part.replace(/^(?:\(\.\*\)|\{?\*\w*\}?)$/, '*'))
    .join('/');
}

function keysOf(controller: object): Set<string | symbol> {
  return new Set([...chainOf(controller)].flatMap(Reflect.ownKeys));
}

function* chainOf(prototype: object): Iterable<object> {
  for (
    let each: object | null = prototype;
    each !== null;
    each = Reflect.getPrototypeOf(each)
  ) {
    yield each;
  }
}
