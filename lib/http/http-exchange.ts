/** One HTTP request and its answer: whether the client still waits for it, and what it says of locks. */
import { HttpStatus, type ExecutionContext } from '@nestjs/common';
import type { AbstractHttpAdapter } from '@nestjs/core';
import { EMPTY, type Observable } from 'rxjs';
import type { LockError } from '../lock.errors.js';
import {
  RequestAbortedError,
  currentRequestScope,
  runInScope,
  type RequestScope,
} from '../lock/acquire/request-scope.js';
import {
  answersByItself,
  isEventStream,
  isRoute,
  isSameRoute,
} from './route.metadata.js';

/** As much of Node's ServerResponse as is used. */
interface ServerResponse {
  readonly destroyed: boolean;
  readonly writableEnded: boolean;
  hasHeader(name: string): boolean;
  setHeader(name: string, value: string): unknown;
  writeHead(status: number, ...rest: unknown[]): unknown;
  once(event: 'close', listener: () => void): unknown;
}

/** A method of a controller: the prototype that declares it, and its key there. */
interface HandlerId {
  readonly prototype: object;
  readonly key: string | symbol;
}

/** As much of Fastify's instance as is used. */
interface Fastify {
  addHook(
    name: 'preHandler',
    hook: (request: unknown, reply: Reply, done: () => void) => void,
  ): void;
}

interface Reply {
  readonly raw: ServerResponse;
}

/**
 * Has all that runs for a request of this server know its exchange, from before Nest's guards on: under
 * Express and Fastify. With another platform no wait is cancelled, and no answer is changed.
 *
 * No interceptor does this: of a route under `@Sse()` that has one, Nest sends the head of the answer
 * before the handler has returned, so that no error of it would have a status any more. Nor does a
 * middleware under Fastify, where it runs before the body is read, and the async context of it ends.
 */
export function followExchanges(adapter: AbstractHttpAdapter): void {
  const follow = (
    response: unknown,
    raw: ServerResponse,
    next: () => void,
  ): void => {
    // Of an application with two LockServices, the first one has done it.
    if (currentExchange()?.response === response) {
      next();
    } else {
      runInScope(new HttpExchange(adapter, response, raw), next);
    }
  };
  const platform = adapter.getType();
  if (platform === 'fastify') {
    const fastify: Fastify = adapter.getInstance();
    fastify.addHook('preHandler', (_, reply, done) =>
      follow(reply, reply.raw, done),
    );
  } else if (platform === 'express') {
    adapter.use((_: unknown, response: ServerResponse, next: () => void) =>
      follow(response, response, next),
    );
  }
}

/** Undefined outside of HTTP requests, and for what goes on after the answer. */
export function currentExchange(): HttpExchange | undefined {
  const caller = currentRequestScope();
  return caller instanceof HttpExchange ? caller : undefined;
}

export class HttpExchange implements RequestScope {
  /** The handler that Nest has chosen; undefined as long as it has not. */
  private route: ExecutionContext | undefined;
  private refusal: LockError | undefined;
  private goneSignal: AbortSignal | undefined;

  /** @param response that of the framework */
  constructor(
    private readonly adapter: AbstractHttpAdapter,
    readonly response: unknown,
    private readonly raw: ServerResponse,
  ) {}

  get isOver(): boolean {
    return this.raw.writableEnded || this.raw.destroyed;
  }

  /** Most requests ask for no lock: only one that does listens to its client. */
  get aborted(): AbortSignal {
    this.goneSignal ??= this.followClient();
    return this.goneSignal;
  }

  /** Nest is going to call the handler of this context. */
  routeTo(context: ExecutionContext): void {
    if (
      context.getType() === 'http' &&
      context.getArgByIndex(1) === this.response
    ) {
      this.route = context;
    }
  }

  /**
   * Whether the handler is the method with this lock: known by its class and key, since tracers put
   * another function in its place.
   */
  isRoutedTo({ prototype, key }: HandlerId): boolean {
    const { route } = this;
    if (route === undefined) {
      return false;
    }
    const controller: object = route.getClass().prototype;
    const declared = findMethod(controller, key);
    if (declared?.prototype !== prototype) {
      return false; // of another class, or overridden
    }
    const routed = findKey(controller, route.getHandler());
    // A function without name and metadata in its place: then the first route of the class that is called.
    return routed === undefined ? isRoute(declared.method) : routed === key;
  }

  /**
   * The handler is not called: the answer is 204, without a body.
   *
   * @param key of the handler in its class, where it is known
   * @returns what Nest is to get in place of the handler's result
   */
  skip(key?: string | symbol): Observable<never> | undefined {
    const { adapter, response, route } = this;
    if (route === undefined) {
      return undefined;
    }
    const handler = route.getHandler();
    if (!adapter.isHeadersSent(response)) {
      adapter.status(response, HttpStatus.NO_CONTENT);
      const controller = route.getClass();
      const routed = key ?? findKey(controller.prototype, handler);
      if (routed !== undefined && answersByItself(controller, routed)) {
        adapter.reply(response, undefined, HttpStatus.NO_CONTENT);
      }
    }
    return isEventStream(handler) ? EMPTY : undefined;
  }

  /** The answer with the status of this error is to have its `Retry-After`, whichever filter makes it. */
  refused(error: LockError): void {
    if (this.refusal === undefined) {
      this.addRetryAfter();
    }
    this.refusal = error;
  }

  private followClient(): AbortSignal {
    const gone = new AbortController();
    this.raw.once('close', () => {
      if (!this.raw.writableEnded) {
        gone.abort(new RequestAbortedError());
      }
    });
    return gone.signal;
  }

  /** The code that called for the lock may catch the error: whether it is the answer shows in the head. */
  private addRetryAfter(): void {
    const { raw } = this;
    const writeHead = raw.writeHead.bind(raw);
    raw.writeHead = (status, ...rest) => {
      const { refusal } = this;
      if (
        refusal?.retryAfter !== undefined &&
        refusal.getStatus() === status &&
        !raw.hasHeader('Retry-After')
      ) {
        raw.setHeader('Retry-After', String(refusal.retryAfter));
      }
      return writeHead(status, ...rest);
    };
  }
}

/** A method as a class has it, and the prototype that declares it. Calls no accessors. */
function findMethod(
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

/** The key of a handler in its class: by the function itself, else by what a function in its place has of it: its path, or its name. */
function findKey(
  controller: object,
  handler: Function,
): string | symbol | undefined {
  const methods = Array.from(chainOf(controller)).flatMap((prototype) =>
    Reflect.ownKeys(prototype).flatMap((key) => {
      const method = findMethod(prototype, key)?.method;
      return method === undefined ? [] : [{ key, method }];
    }),
  );
  const found =
    methods.find(({ method }) => method === handler) ??
    methods.find(({ method }) => isSameRoute(method, handler)) ??
    methods.find(({ key }) => key === handler.name);
  return found?.key;
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
