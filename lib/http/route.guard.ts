/** Tells the exchange of an HTTP request which handler Nest is going to call: a guard, since an interceptor changes how the answer is sent. */
import {
  Injectable,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import { currentExchange } from './http-exchange.js';

@Injectable()
export class RouteGuard implements CanActivate {
  canActivate(context: ExecutionContext): true {
    currentExchange()?.routeTo(context);
    return true;
  }
}
