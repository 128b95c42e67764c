/** Serves the API over HTTP: reads requests, checks rights, applies faults, and writes answers. */
import type {
  IncomingHttpHeaders,
  IncomingMessage,
  ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import {
  authenticate,
  authorize,
  reviewAccess,
  type AccessOptions,
} from './access.js';
import * as status from './api-status.js';
import type { FaultOutcome, Faults } from './faults.js';
import type { Answer, LeaseApi } from './lease-api.js';
import type { ReceivedRequest, RequestLog } from './requests.js';
import { route, type Route } from './routes.js';
import type { Watches } from './watches.js';

/** The API server's limit for a request's body, in bytes. */
const BODY_LIMIT = 3 * 1024 * 1024;

const JSON_TYPE = 'application/json';
/** The usual reason of each status code, for faults that give only the code. */
const REASONS: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'Conflict',
  410: 'Expired',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

/** The answer, or a function that starts the watch. */
type Outcome = Answer | ((response: ServerResponse) => void);

export class HttpFront {
  private readonly connectionIds = new WeakMap<Socket, number>();

  constructor(
    private readonly api: LeaseApi,
    private readonly watches: Watches,
    private readonly faults: Faults,
    private readonly requests: RequestLog,
    private readonly access: AccessOptions,
  ) {}

  /** Assigns a TCP connection its number. */
  connected(socket: Socket, id: number): void {
    this.connectionIds.set(socket, id);
  }

  async handle(
    message: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const body = await text(message).catch(() => undefined);
    if (body === undefined) {
      return; // The client broke it off.
    }
    const { method = 'GET', url = '/', headers, socket } = message;
    const asked = route(method, url);
    const user = authenticate(headers.authorization, this.access);
    const request: ReceivedRequest = {
      method,
      path: url,
      verb: asked.verb,
      resource: asked.resource,
      ...(asked.namespace !== undefined && { namespace: asked.namespace }),
      ...(asked.name !== undefined && { name: asked.name }),
      user: user ?? '',
      connection: this.connectionIds.get(socket)!,
      at: performance.now(),
    };
    this.requests.add(request);

    const met = this.faults.meet(request);
    const before = met && (await met.pass('before'));
    if (before) {
      this.fail(request, response, before);
      return;
    }
    const outcome = answerOf(() => {
      if (user === undefined) {
        throw status.unauthorized();
      }
      return this.apply(request, asked, headers, body);
    });
    const after = met && (await met.pass('after'));
    if (after) {
      this.fail(request, response, after, outcome);
    } else if (typeof outcome === 'function') {
      outcome(response);
    } else {
      this.send(request, response, outcome);
    }
  }

  private apply(
    request: ReceivedRequest,
    asked: Route,
    headers: IncomingHttpHeaders,
    body: string,
  ): Outcome {
    const { path, group, resource, verb, methods } = asked;
    if (path === '/readyz') {
      return {
        code: 200,
        body: 'ok',
        headers: { 'Content-Type': 'text/plain' },
      };
    }
    if (methods.length === 0) {
      throw status.noSuchResource();
    }
    const { user, namespace, name } = request;
    const access = {
      user,
      verb,
      group,
      resource,
      ...(namespace !== undefined && { namespace }),
      ...(name !== undefined && { name }),
    };
    authorize(access, this.access);
    if (!methods.includes(request.method)) {
      throw status.methodNotAllowed();
    }
    if (Buffer.byteLength(body) > BODY_LIMIT) {
      throw status.entityTooLarge(BODY_LIMIT);
    }
    if (resource === 'selfsubjectaccessreviews') {
      return { code: 201, body: reviewAccess(user, body, this.access) };
    }
    const [type = ''] = (headers['content-type'] ?? '').split(';');
    const contentType = type.trim().toLowerCase();
    const authorizeCreation = () =>
      authorize({ ...access, verb: 'create' }, this.access);
    const call = { ...asked, contentType, body, authorizeCreation };
    if (verb !== 'watch') {
      return this.api[verb](call);
    }
    const options = this.api.watchOptions(call);
    return (response) => {
      request.status = 200;
      this.watches.start(request, response, options);
    };
  }

  /** Answers as the fault says. */
  private fail(
    request: ReceivedRequest,
    response: ServerResponse,
    fault: FaultOutcome,
    outcome?: Outcome,
  ): void {
    switch (fault.kind) {
      case 'drop':
        if (fault.when === 'mid-answer') {
          breakOff(response, outcome);
        } else {
          response.socket?.resetAndDestroy();
        }
        return;
      case 'answer': {
        const { code = 200, body, contentType = JSON_TYPE } = fault;
        const headers = { 'Content-Type': contentType };
        this.send(request, response, { code, body, headers });
        return;
      }
      case 'status': {
        const { code, retryAfter, reason = REASONS[code] } = fault;
        const { message = `injected fault ${code}` } = fault;
        const details =
          retryAfter === undefined ? {} : { retryAfterSeconds: retryAfter };
        const failure = new status.ApiError(code, reason, message, details);
        this.send(request, response, failureAnswer(failure));
      }
    }
  }

  private send(
    request: ReceivedRequest,
    response: ServerResponse,
    { code, body, headers }: Answer,
  ): void {
    request.status = code;
    response.writeHead(code, {
      'Content-Type': JSON_TYPE,
      'Content-Length': Buffer.byteLength(body),
      ...headers,
    });
    response.end(body);
  }
}

function answerOf(act: () => Outcome): Outcome {
  try {
    return act();
  } catch (error) {
    return failureAnswer(
      error instanceof status.ApiError
        ? error
        : new status.ApiError(500, 'InternalError', String(error)),
    );
  }
}

function failureAnswer({ code, status: failure, details }: status.ApiError) {
  const retryAfter = details?.retryAfterSeconds;
  return {
    code,
    body: JSON.stringify(failure),
    ...(retryAfter !== undefined && {
      headers: { 'Retry-After': String(retryAfter) },
    }),
  };
}

/** Sends the first half of an answer, then resets the connection. */
function breakOff(
  response: ServerResponse,
  outcome: Outcome | undefined,
): void {
  const { code, body }: Answer =
    typeof outcome === 'object' ? outcome : { code: 200, body: '{"type":"A' };
  response.writeHead(code, {
    'Content-Type': JSON_TYPE,
    'Content-Length': Buffer.byteLength(body) + 1,
  });
  const half = body.slice(0, Math.ceil(body.length / 2));
  response.write(half, () => response.socket?.resetAndDestroy());
}
