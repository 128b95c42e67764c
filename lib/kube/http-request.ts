/** Sends one HTTP request exactly once, and tracks its phase. */
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { isError } from '../lock.errors.js';
import type { Pools } from './connection-pools.js';

export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Relative to the root of the API, with the query. */
  readonly path: string;
  readonly body?: string;
  /** Default `application/json`. */
  readonly contentType?: string;
  /** Milliseconds for credentials, connection and answer together. */
  readonly timeout: number;
  readonly signal?: AbortSignal;
  /** The connections that it uses. Default `requests`. */
  readonly pool?: keyof Pools;
}

/** Address and credentials of a call. */
export interface Target {
  /** The address as messages show it. */
  readonly address: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly port: string;
  /** Path of the API's root on this host. */
  readonly root: string;
  readonly headers: http.OutgoingHttpHeaders;
  readonly pools: Pools;
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** undefined if it is longer than the limit. */
  readonly body: string | undefined;
}

/**
 * The phase of a call. Nothing of it leaves this process before `answer`, so a call that fails in an
 * earlier phase cannot take effect.
 */
export type Phase = 'queue' | 'credentials' | 'connection' | 'answer';

export type ExchangeFault =
  'aborted' | 'credentials' | 'network' | 'timeout' | 'unreadable';

/** A call got no answer. The error carries no header and no body of the call: they are secret. */
export class ExchangeError extends Error {
  override readonly name = 'ExchangeError';

  constructor(
    readonly fault: ExchangeFault,
    readonly phase: Phase,
    /** The error code of the system or of OpenSSL, such as ECONNREFUSED. */
    readonly code?: string,
    /** The address to which the call was sent. */
    readonly address?: string,
  ) {
    super(`${fault} in phase ${phase}`);
  }
}

/** A call in flight. */
export interface Exchange<T> {
  readonly outcome: Promise<T>;
  /** Aborts the call, as its signal would. */
  readonly abort: () => void;
}

/** Reads from a response what its caller wants of it. */
export type Receive<T> = (
  response: IncomingMessage,
  succeed: (value: T) => void,
  fail: (error: Error) => void,
) => void;

export const MAX_TIMEOUT = 2 ** 31 - 1;

/** Reads the whole answer, up to `maxBytes`. */
export function wholeAnswer(maxBytes: number): Receive<Answer> {
  return (response, succeed, fail) => {
    const { statusCode: status = 0, headers } = response;
    const chunks: Buffer[] = [];
    let bytes = 0;
    const refuse = () => {
      succeed({ status, headers, body: undefined });
      response.destroy();
    };
    response.on('error', fail);
    if (Number(headers['content-length']) > maxBytes) {
      return refuse();
    }
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes > maxBytes) {
        refuse();
      }
    });
    response.on('end', () => {
      const body = Buffer.concat(chunks, bytes).toString('utf8');
      succeed({ status, headers, body });
    });
  };
}

/**
 * The response once its head has arrived. From then on the timeout and the signal no longer apply, and the
 * caller must destroy the response.
 */
export const openStream: Receive<IncomingMessage> = (response, succeed) =>
  succeed(response);

/** Sends a call. */
export function send<T>(
  call: Call,
  target: Promise<Target>,
  receive: Receive<T>,
): Exchange<T> {
  let abort!: () => void;
  const outcome = new Promise<T>((resolve, reject) => {
    let phase: Phase = 'credentials';
    let request: ClientRequest | undefined;
    let address: string | undefined;
    let settled = false;

    const settle = () => {
      if (settled) {
        return false;
      }
      settled = true;
      clearTimeout(timer);
      call.signal?.removeEventListener('abort', abort);
      return true;
    };
    const fail = (fault: ExchangeFault, code?: string) => {
      if (!settle()) {
        return;
      }
      reject(new ExchangeError(fault, phase, code, address));
      // The connection is destroyed, so that a late answer cannot reach the next request.
      request?.destroy();
    };
    const failFor = (error: Error) => {
      const code = codeOf(error);
      fail(code?.startsWith('HPE_') ? 'unreadable' : 'network', code);
    };
    const succeed = (value: T) => {
      if (settle()) {
        resolve(value);
      }
    };
    abort = () => fail('aborted');

    // The timeout counts only after the sockets were read once more: in a busy process the timer may
    // run before an answer that arrived in time is read.
    const timer = setTimeout(
      () => setImmediate(() => fail('timeout')),
      Math.min(call.timeout, MAX_TIMEOUT),
    );
    if (call.signal?.aborted) {
      return abort();
    }
    if (!(call.timeout > 0)) {
      return fail('timeout');
    }
    call.signal?.addEventListener('abort', abort, { once: true });

    const dispatch = (to: Target) => {
      if (settled) {
        return;
      }
      phase = 'connection';
      address = to.address;
      try {
        request = open(call, to);
      } catch (error) {
        // The credentials led to a header that HTTP does not allow.
        return fail('credentials', codeOf(error));
      }
      request.on('error', failFor);
      request.on('response', (response) => receive(response, succeed, failFor));
      // A broken answer does not always emit an error, but it always closes.
      request.on('close', () => fail('network'));
      whenConnected(request, () => {
        if (settled) {
          return;
        }
        phase = 'answer';
        request?.end(call.body);
      });
    };
    target.then(dispatch, (error: Error) => {
      if (settle()) {
        reject(error);
      }
    });
  });
  return { outcome, abort };
}

/** Makes a request that sends nothing until `end` is called. */
function open(call: Call, target: Target): ClientRequest {
  const { protocol, hostname, port, pools } = target;
  const headers = { ...target.headers };
  if (call.body !== undefined) {
    headers['Content-Type'] = call.contentType ?? 'application/json';
    headers['Content-Length'] = Buffer.byteLength(call.body);
  }
  return (protocol === 'https:' ? https : http).request({
    protocol,
    hostname,
    port,
    path: target.root + call.path,
    method: call.method,
    headers,
    agent: pools[call.pool ?? 'requests'],
  });
}

/** Calls `ready` once the request has a connection and the server's certificate is verified. */
function whenConnected(request: ClientRequest, ready: () => void): void {
  request.once('socket', (socket: Socket) => {
    if (socket instanceof TLSSocket) {
      return isHandshaking(socket)
        ? socket.once('secureConnect', ready)
        : ready();
    }
    return socket.connecting ? socket.once('connect', ready) : ready();
  });
}

/** `secureConnecting` is a field that Node.js sets but does not document. */
function isHandshaking(socket: TLSSocket & { secureConnecting?: boolean }) {
  return socket.secureConnecting === true;
}

/** The code of an error, such as ECONNREFUSED; undefined if it does not look like one. */
export function codeOf(error: unknown): string | undefined {
  if (!isError(error) || !('code' in error)) {
    return undefined;
  }
  const { code } = error;
  return typeof code === 'string' && /^[A-Z0-9_]{1,64}$/.test(code)
    ? code
    : undefined;
}
