/** `LockErrorFilter`: answers callers of message handlers, gateways, resolvers and routes with the errors of this package. */
import { Catch, type ArgumentsHost } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { throwError, type Observable } from 'rxjs';
import { addRetryAfter } from '../http/retry-after.js';
import { LockError } from '../lock.errors.js';

/** The used part of a gateway's client, of socket.io or ws. */
interface SocketClient {
  emit(event: string, data: unknown): unknown;
  send?(text: string): unknown;
  readonly readyState?: number;
}

/**
 * Answers for the errors of this package where Nest only says "Internal server error": callers of message
 * handlers and of gateways get the body of the HTTP answer (`statusCode`, `error`, `message`, `lock`) with
 * `status: 'error'`. For GraphQL, these are in the `extensions` of the error, with a `code`
 * (`LOCK_NOT_ACQUIRED`, `LOCK_LOST`, `LOCK_BACKEND`, `LOCK_CONFIGURATION`), the `reason` and `retryAfter`. To the
 * answer of a route it adds `Retry-After`, which routes under a lock have without it.
 *
 * @example
 * @Module({ providers: [{ provide: APP_FILTER, useClass: LockErrorFilter }] })
 * class AppModule {}
 *
 * @example
 * @UseFilters(LockErrorFilter)
 * @WebSocketGateway()
 * class Gateway {}
 */
@Catch(LockError)
export class LockErrorFilter extends BaseExceptionFilter<LockError> {
  override catch(
    error: LockError,
    host: ArgumentsHost,
  ): void | Error | Observable<never> {
    const body = Object(error.toJSON());
    const answer = { status: 'error', ...body };
    switch (host.getType<string>()) {
      case 'rpc':
        return throwError(() => answer);
      case 'ws':
        return tell(host.switchToWs().getClient<SocketClient>(), answer);
      case 'graphql':
        return toGraphQLError(error, body);
      case 'http':
        this.answerRetryAfter(error, host);
        // oxlint-disable-next-line promise/valid-params -- the method of an exception filter, not of a promise
        return super.catch(error, host);
      default:
        return error;
    }
  }

  private answerRetryAfter(error: LockError, host: ArgumentsHost): void {
    const adapter = this.httpAdapterHost?.httpAdapter ?? this.applicationRef;
    if (adapter !== undefined) {
      addRetryAfter(adapter, host.getArgByIndex(1), error);
    }
  }
}

/** The driver treats a returned error as thrown. It must not be an HttpException, whose code the driver replaces. */
function toGraphQLError(
  error: LockError,
  { message, ...body }: { message: string },
): Error {
  const code = error.name
    .replace(/Error$/, '')
    .replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_')
    .toUpperCase();
  const { retryAfter } = error;
  const reason: unknown = Reflect.get(error, 'reason');
  return Object.assign(new Error(message, { cause: error }), {
    extensions: {
      code,
      ...body,
      ...(reason === undefined ? {} : { reason }),
      ...(retryAfter === undefined ? {} : { retryAfter }),
    },
  });
}

/** Sends data as the platform sends the result of a handler. */
function tell(client: SocketClient, data: object): void {
  if (client.send !== undefined && typeof client.readyState === 'number') {
    client.send(JSON.stringify({ event: 'exception', data }));
  } else {
    client.emit('exception', data);
  }
}
