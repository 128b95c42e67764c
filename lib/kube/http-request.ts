/** Sends one HTTP request, exactly once, and knows at each moment how far it has come. */
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { isError } from '../lock.errors.js';

export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** From the root of the API, with its query. */
  readonly path: string;
  readonly body?: string;
  /** Milliseconds for all of it: credentials, connection, answer. */
  readonly timeout: number;
  readonly signal?: AbortSignal;
}

/** Where a call goes, and as whom. */
export interface Target {
  /** Where that is, for messages. */
  readonly address: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly port: string;
  /** Path of the API's root on this host. */
  readonly root: string;
  readonly headers: http.OutgoingHttpHeaders;
  readonly agent: http.Agent;
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** undefined: longer than the limit. */
  readonly body: string | undefined;
}

/**
 * How far a call has come. Nothing of it leaves this process before `answer`, so that in the earlier
 * phases it is certain not to take effect.
 */
export type Phase = 'credentials' | 'connection' | 'answer';

export type ExchangeFault =
  'aborted' | 'credentials' | 'network' | 'timeout' | 'unreadable';

/** A call that was not answered. It carries nothing of the call: headers and bodies are secret. */
export class ExchangeError extends Error {
  override readonly name = 'ExchangeError';

  constructor(
    readonly fault: ExchangeFault,
    readonly phase: Phase,
    /** The system's or OpenSSL's code of the error, such as ECONNREFUSED. */
    readonly code?: string,
    /** Where the API server was looked for. */
    readonly address?: string,
  ) {
    super(`${fault} in phase ${phase}`);
  }
}

/** A call under way. */
export interface Exchange<T> {
  readonly outcome: Promise<T>;
  /** Gives the call up, as if its signal had been aborted. */
  readonly abort: () => void;
}

type Receive<T> = (
  response: IncomingMessage,
  succeed: (value: T) => void,
  fail: (error: Error) => void,
) => void;

export const MAX_TIMEOUT = 2 ** 31 - 1;

/** Sends a call and reads the whole answer, up to `maxBytes`. */
export function exchange(
  call: Call,
  target: Promise<Target>,
  maxBytes: number,
): Exchange<Answer> {
  return send(call, target, (response, succeed, fail) => {
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
  });
}

/**
 * Sends a call and hands out the answer once its head is there: from then on neither the timeout
 * nor the signal has a hold on it, and to destroy it is the caller's part.
 */
export function openStream(
  call: Call,
  target: Promise<Target>,
): Exchange<IncomingMessage> {
  return send(call, target, (response, succeed) => succeed(response));
}

function send<T>(
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
      // The whole connection goes: what hangs on it must not meet the next request.
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

    // Only after the sockets were read once more: where this process was too busy to read an answer
    // that came in time, the timer would otherwise be the first to run.
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
        // A header that HTTP does not allow, from credentials of a strange kind.
        return fail('credentials', codeOf(error));
      }
      request.on('error', failFor);
      request.on('response', (response) => receive(response, succeed, failFor));
      // An answer that breaks off does not always bring an error, but it always closes.
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

/** A request of which nothing is sent before `end` is called. */
function open(call: Call, target: Target): ClientRequest {
  const { protocol, hostname, port, agent } = target;
  const headers = { ...target.headers };
  if (call.body !== undefined) {
    headers['Content-Type'] = 'application/json';
    headers['Content-Length'] = Buffer.byteLength(call.body);
  }
  return (protocol === 'https:' ? https : http).request({
    protocol,
    hostname,
    port,
    path: target.root + call.path,
    method: call.method,
    headers,
    agent,
  });
}

/** Calls back once the request has a connection that is ready, with the server's certificate verified. */
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

/** Node sets this field, and has not documented it. */
function isHandshaking(socket: TLSSocket & { secureConnecting?: boolean }) {
  return socket.secureConnecting === true;
}

/** The code of an error, such as ECONNREFUSED; undefined where it is anything but a code. */
export function codeOf(error: unknown): string | undefined {
  if (!isError(error) || !('code' in error)) {
    return undefined;
  }
  const { code } = error;
  return typeof code === 'string' && /^[A-Z0-9_]{1,64}$/.test(code)
    ? code
    : undefined;
}
