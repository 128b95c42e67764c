/** `LeaseLockInterceptor()`: puts handlers, controllers or the whole application under a lock. */
import {
  Inject,
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
  type Type,
} from '@nestjs/common';
import {
  catchError,
  defer,
  isObservable,
  mergeMap,
  of,
  type Observable,
} from 'rxjs';
import {
  findObjectFaults,
  throwFaults,
  type OnLocked,
  type OwnLockOptions,
} from '../k8s-lock.options.js';
import { LockConfigurationError } from '../lock.errors.js';
import { clientOf } from '../lock.client.js';
import { LockService } from '../lock.service.js';
import { runInCall } from '../lock/acquire/request-scope.js';
import { logConfigurationError } from './configuration-log.js';
import { currentExchange } from '../http/http-exchange.js';
import { addInterceptorLock } from './interceptor-lock.metadata.js';
import { LockedCall, observeLocked } from './run-with-locks.js';
import { checkName } from './lock.metadata.js';
import { isEventStream } from '../http/route.metadata.js';
import { runOnStandIn } from './stand-in.js';

/**
 * Makes an interceptor that runs each call of a handler (of a route, a resolver, a message or an event)
 * under a lock. It behaves like {@link WithLeaseLock}, with these differences:
 *
 * - Position matters. The lock is acquired after the guards and the interceptors that are bound before it;
 *   pipes run under it. It is held until the handler and the interceptors below have ended.
 * - Several interceptors, and the decorators of the handler, acquire their locks one after the other.
 * - `currentLock()` returns the lock; `@HeldLock()` is for decorated methods only.
 * - On a route under `@Sse()`, Nest sends the head of the stream before the lock is acquired. Decorate the
 *   method instead.
 *
 * Each call of this function makes a class: bind it with `@UseInterceptors()`, provide it as
 * `APP_INTERCEPTOR`, or extend it. To make an instance by hand, pass the `LockService`.
 *
 * @param name a non-empty string, or a function that returns one for each call
 * @param options default: those of the module; `onLocked` is `'wait'`, for up to 10 000 ms. A skipped call
 * answers 204 over HTTP, and undefined elsewhere. Durations are in milliseconds.
 *
 * @throws LockConfigurationError at startup, for a wrong name or wrong options; from a call, when the
 * function for the name does not return a non-empty string
 * @throws LockNotAcquiredError from a call under `'wait'` or `'throw'`
 * @throws LockBackendError from a call, when the API server can't be used
 *
 * @example
 * @UseInterceptors(LeaseLockInterceptor('import', { onLocked: 'throw' }))
 * @Controller('imports')
 * class ImportsController {} // one request at a time, to any of its routes, in any pod
 *
 * @example
 * const OrderLock = LeaseLockInterceptor(
 *   (context) => `order-${context.switchToHttp().getRequest().params.id}`,
 * );
 */
export function LeaseLockInterceptor(
  name: string | ((context: ExecutionContext) => string),
  options: OwnLockOptions & { onLocked?: OnLocked } = {},
): Type<NestInterceptor> {
  if (new.target !== undefined) {
    throw new LockConfigurationError([
      "LeaseLockInterceptor was bound without parentheses: write @UseInterceptors(LeaseLockInterceptor('name'))",
    ]);
  }
  throwFaults(
    findObjectFaults('the options of LeaseLockInterceptor()', options),
  );
  const { onLocked = 'wait', ...lockOptions } = options;

  @Injectable()
  class LockInterceptor implements NestInterceptor {
    constructor(@Inject(LockService) private readonly locks: LockService) {
      if (locks === undefined) {
        throw new LockConfigurationError([
          'an interceptor of LeaseLockInterceptor() was made by hand and has no LockService: provide it as { provide: APP_INTERCEPTOR, useClass: LeaseLockInterceptor(…) }, or make it with new (LeaseLockInterceptor(…))(app.get(LockService))',
        ]);
      }
    }

    intercept(
      context: ExecutionContext,
      next: CallHandler,
    ): Observable<unknown> {
      const handler = `${context.getClass().name}.${context.getHandler().name}`;
      const label = `LeaseLockInterceptor() on ${handler}`;
      let hasBegun = false;
      const handle = (): Observable<unknown> => {
        hasBegun = true;
        return next.handle();
      };
      const exchange = currentExchange();
      const refuse = (error: unknown): never => {
        logConfigurationError(lock, label, error, hasBegun);
        exchange?.answerIn(context)?.refuse(error);
        throw error;
      };
      try {
        return runInCall(handler, () =>
          this.handleLocked(context, handle, label),
        ).pipe(catchError(refuse));
      } catch (error) {
        return refuse(error);
      }
    }

    private handleLocked(
      context: ExecutionContext,
      handle: () => Observable<unknown>,
      label: string,
    ): Observable<unknown> {
      const request = {
        name: checkName(
          typeof name === 'function' ? name(context) : name,
          () => label,
        ),
        onLocked,
        options: lockOptions,
      };
      const exchange = currentExchange();
      const skipped = (): unknown => exchange?.answerIn(context)?.skip();
      const client = clientOf(this.locks);
      if (client === undefined) {
        const call = {
          standIn: this.locks,
          requests: [request],
          skipped,
          describe: () => label,
        };
        return defer(() => runOnStandIn(call, handle)).pipe(
          mergeMap((result) => (isObservable(result) ? result : of(result))),
        );
      }
      return observeLocked(
        new LockedCall(client, [request], skipped),
        handle,
        isEventStream(context.getHandler()),
      );
    }
  }
  const lock = { name, onLocked, options: lockOptions };
  addInterceptorLock(LockInterceptor, lock);
  return LockInterceptor;
}
