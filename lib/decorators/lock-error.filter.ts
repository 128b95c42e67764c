/** `LockErrorFilter`: tells callers that are no HTTP clients what has become of their lock. */
import { Catch, type ArgumentsHost } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { throwError, type Observable } from 'rxjs';
import { LockError } from '../lock.errors.js';

/** As much of a client of a gateway as is used: of socket.io, or of ws. */
interface SocketClient {
  emit(event: string, data: unknown): unknown;
  send?(text: string): unknown;
  readonly readyState?: number;
}

/**
 * Answers for the errors of this package where Nest would only say "Internal server error": callers of
 * message handlers and of gateways get what an HTTP client gets (`statusCode`, `error`, `message`,
 * `lock`), with `status: 'error'`. GraphQL and HTTP are answered as without it.
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
  ): void | LockError | Observable<never> {
    const answer = { status: 'error', ...Object(error.toJSON()) };
    switch (host.getType<string>()) {
      case 'rpc':
        return throwError(() => answer);
      case 'ws':
        return tell(host.switchToWs().getClient<SocketClient>(), answer);
      case 'http':
        // oxlint-disable-next-line promise/valid-params -- that of Nest's filters, and of no promise
        return super.catch(error, host);
      default:
        return error; // GraphQL takes what is returned for what was thrown
    }
  }
}

/** As the platforms send what a handler returns. */
function tell(client: SocketClient, data: object): void {
  if (client.send !== undefined && typeof client.readyState === 'number') {
    client.send(JSON.stringify({ event: 'exception', data }));
  } else {
    client.emit('exception', data);
  }
}
