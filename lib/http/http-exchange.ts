/** Tracks one HTTP request and its answer: the disconnection of the client, 204 for a skipped route, and `Retry-After`. */
import { HttpStatus, type ExecutionContext } from '@nestjs/common';
import type { AbstractHttpAdapter } from '@nestjs/core';
import { EMPTY, type Observable } from 'rxjs';
import { LockError } from '../lock.errors.js';
import {
  RequestAbortedError,
  currentRequestScope,
  runInScope,
  type RequestScope,
} from '../lock/acquire/request-scope.js';
import { addRetryAfter } from './retry-after.js';
import {
  answersByItself,
  findHandlers,
  findMethod,
  isEventStream,
  type Method,
} from './route.metadata.js';

/** The used part of Node's ServerResponse. */
interface ServerResponse {
  readonly destroyed: boolean;
  readonly writableEnded: boolean;
  once(event: 'close', listener: () => void): unknown;
}

/** The used part of a request of Express or Fastify. */
interface Request {
  readonly method: string;
  /** The route of Express. */
  readonly route?: { readonly path?: unknown };
  /** The route of Fastify. */
  readonly routeOptions?: { readonly url?: unknown };
}

/** The used part of Fastify's instance. */
interface Fastify {
  addHook(
    name: 'preHandler',
    hook: (request: Request, reply: Reply, done: () => void) => void,
  ): void;
}

interface Reply {
  readonly raw: ServerResponse;
}

/** The handler of a request, and its class. */
interface Handler {
  readonly controller: object;
  /** Undefined if unknown. */
  readonly key: string | symbol | undefined;
  readonly method: object;
}

/**
 * Sets the exchange in the async context of each request of this server, before Nest's guards run: by a
 * middleware of Express or a hook of Fastify. On other platforms these features are unavailable.
 *
 * An interceptor can't do this: on a route under `@Sse()` with an interceptor, Nest sends the head of the
 * answer before the handler has returned, too early for the status of its error. Nor can a middleware under
 * Fastify: it runs before the body is read, and its async context ends there.
 */
export function followExchanges(adapter: AbstractHttpAdapter): void {
  const follow = (
    request: Request,
    response: unknown,
    raw: ServerResponse,
    next: () => void,
  ): void => {
    // In an application with two LockServices, the first one has set the exchange.
    if (currentExchange()?.response === response) {
      next();
    } else {
      runInScope(new HttpExchange(adapter, request, response, raw), next);
    }
  };
  const platform = adapter.getType();
  if (platform === 'fastify') {
    const fastify: Fastify = adapter.getInstance();
    fastify.addHook('preHandler', (request, reply, done) =>
      follow(request, reply, reply.raw, done),
    );
  } else if (platform === 'express') {
    adapter.use(
      (request: Request, response: ServerResponse, next: () => void) =>
        follow(request, response, response, next),
    );
  }
}

/** Undefined outside of HTTP requests, and after the answer. */
export function currentExchange(): HttpExchange | undefined {
  const caller = currentRequestScope();
  return caller instanceof HttpExchange ? caller : undefined;
}

export class HttpExchange implements RequestScope {
  private goneSignal: AbortSignal | undefined;

  /**
   * @param request the framework's request
   * @param response the framework's response
   */
  constructor(
    private readonly adapter: AbstractHttpAdapter,
    private readonly request: Request,
    readonly response: unknown,
    private readonly raw: ServerResponse,
  ) {}

  get isOver(): boolean {
    return this.raw.writableEnded || this.raw.destroyed;
  }

  /** Listens to the client only when first read, since most requests need no lock. */
  get aborted(): AbortSignal {
    this.goneSignal ??= this.followClient();
    return this.goneSignal;
  }

  /**
   * The answer of a method if it is the handler of the request: undefined if another handler calls it, or if it
   * is overridden.
   *
   * @param controller the prototype of the instance
   */
  answerOf(
    controller: object,
    { prototype, key }: Method,
  ): RouteAnswer | undefined {
    const declared = findMethod(controller, key);
    return declared?.prototype === prototype &&
      this.findKeys(controller).includes(key)
      ? new RouteAnswer(this.adapter, this.response, {
          controller,
          key,
          method: declared.method,
        })
      : undefined;
  }

  /** The answer of the handler of a context, if the context is that of this request. */
  answerIn(context: ExecutionContext): RouteAnswer | undefined {
    if (
      context.getType() !== 'http' ||
      context.getArgByIndex(1) !== this.response
    ) {
      return undefined;
    }
    const controller: object = context.getClass().prototype;
    const method = context.getHandler();
    const keys = this.findKeys(controller);
    const key =
      keys.find((each) => findMethod(controller, each)?.method === method) ??
      keys[0]; // a tracer has replaced the function
    return new RouteAnswer(this.adapter, this.response, {
      controller,
      key,
      method,
    });
  }

  /** Finds handlers by the framework's route pattern, which Nest makes from the paths of the class and the method. */
  private findKeys(controller: object): readonly (string | symbol)[] {
    const { method, route, routeOptions } = this.request;
    const pattern = route?.path ?? routeOptions?.url;
    return typeof pattern === 'string'
      ? findHandlers(controller, method, pattern)
      : [];
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
}

/** The answer of a handler under a lock. */
export class RouteAnswer {
  constructor(
    private readonly adapter: AbstractHttpAdapter,
    private readonly response: unknown,
    private readonly handler: Handler,
  ) {}

  /**
   * Answers 204 without a body, for a handler that is skipped.
   *
   * @returns the value to return to Nest instead of the handler's result
   */
  skip(): Observable<never> | undefined {
    const { adapter, response } = this;
    const { controller, key, method } = this.handler;
    if (!adapter.isHeadersSent(response)) {
      adapter.status(response, HttpStatus.NO_CONTENT);
      if (key !== undefined && answersByItself(controller, key)) {
        adapter.reply(response, undefined, HttpStatus.NO_CONTENT);
      }
    }
    return isEventStream(method) ? EMPTY : undefined;
  }

  /** Sets the `Retry-After` of an error with which the handler rejects, for any exception filter. */
  refuse(error: unknown): void {
    if (error instanceof LockError) {
      addRetryAfter(this.adapter, this.response, error);
    }
  }
}
