/** What Nest's decorators leave on the handlers of routes, as far as an answer depends on it. Only names are known here: Nest exports none of them. */

const PATH = 'path';
const METHOD = 'method';
const ROUTE_ARGUMENTS = '__routeArguments__';
const PASSTHROUGH = '__responsePassthrough__';
const SSE = '__sse__';

/** The parameters under `@Res()` and `@Next()`, as the keys of {@link ROUTE_ARGUMENTS} begin. */
const RESPONSE_OR_NEXT = /^[12]:/;

/** Whether the method is a route. */
export function isRoute(method: object): boolean {
  return Reflect.hasMetadata(PATH, method);
}

/** Whether one of two functions has taken over what makes the other a route. */
export function isSameRoute(one: object, other: object): boolean {
  return (
    isRoute(one) &&
    [PATH, METHOD].every(
      (key) =>
        Reflect.getMetadata(key, one) === Reflect.getMetadata(key, other),
    )
  );
}

/** Whether it is a route under `@Sse()`. */
export function isEventStream(handler: object): boolean {
  return Reflect.getMetadata(SSE, handler) === true;
}

/** Whether the handler sends the answer itself: it has `@Res()` or `@Next()`, and not `{ passthrough: true }`. */
export function answersByItself(
  controller: object,
  key: string | symbol,
): boolean {
  const parameters: object =
    Reflect.getMetadata(ROUTE_ARGUMENTS, controller, key) ?? {};
  return (
    Object.keys(parameters).some((each) => RESPONSE_OR_NEXT.test(each)) &&
    Reflect.getMetadata(PASSTHROUGH, controller, key) !== true
  );
}
