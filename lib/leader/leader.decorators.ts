/** `@OnElected`, `@OnDeposed` and `@LeaderOnly`: methods that follow an election. */
import { Inject } from '@nestjs/common';
import {
  refuseBareUse,
  refuseStandardUse,
} from '../decorators/decorator-use.js';
import { refuseCall } from '../decorators/configuration-log.js';
import {
  findLockService,
  requestLockService,
} from '../decorators/lock-service.injection.js';
import {
  requireLateService,
  withoutInstance,
} from '../decorators/locked-method.js';
import { describeMethod } from '../decorators/lock.metadata.js';
import { takeOver } from '../decorators/with-lease-lock.decorator.js';
import { currentExchange } from '../http/http-exchange.js';
import {
  describeValue,
  findFaults,
  findObjectFaults,
  throwFaults,
} from '../k8s-lock.options.js';
import { LockConfigurationError, type LockLostError } from '../lock.errors.js';
import { quote } from '../printable.js';
import { describeElections, findElection } from './leader-election.js';
import { addLeaderMark, type LeaderMark } from './leader.metadata.js';
import type { Leadership } from './leadership.js';

/** The token of the provider of an election, for `overrideProvider()` and `useFactory`. */
export function getLeaderElectionToken(name: string): string {
  return `LeaderElection(${name})`;
}

/**
 * Injects the {@link LeaderElection} of this name.
 *
 * @example
 * constructor(
 *   @InjectLeaderElection('dispatcher') private readonly election: LeaderElection,
 * ) {}
 */
export function InjectLeaderElection(
  name: string,
): ParameterDecorator & PropertyDecorator {
  return Inject(getLeaderElectionToken(name));
}

/** A decorator for methods that can be called with one argument, or none. */
export interface LeaderListenerDecorator<Argument> {
  <Method extends (argument: Argument) => unknown>(
    target: object,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<Method>,
  ): void;
  /** Only for `applyDecorators()`, whose type requires class decorators, too. On a class it throws. */
  (target: Function): void;
}

/**
 * Calls the method when this process begins to lead, with the {@link Leadership}. The method may run for as long as
 * the process leads; it should end when `leadership.signal` aborts. If it throws or rejects while the process
 * leads, that is logged, and the process stops leading, so that another one can; it contends again after a pause.
 *
 * The class must be a singleton: a provider or controller that no request or injection makes anew.
 *
 * @param election the name that was given to `LeaderElectionModule.forFeature()`
 * @example
 * class Dispatcher { @OnElected('dispatcher')
 *   async dispatch({ signal, fencingToken }: Leadership) {
 *     for await (const job of this.queue.read({ signal })) {
 *       await this.run(job, fencingToken);
 *     }
 *   }
 * }
 */
export function OnElected(
  election: string,
): LeaderListenerDecorator<Leadership> {
  return listener('OnElected', election, arguments[1]);
}

/**
 * Calls the method when this process stops leading, with the `LockLostError` that says why. It is called at once,
 * while work of the leadership may still run. The process contends again, or closes, when the method and the work
 * have ended. What it throws is logged.
 *
 * @param election as for {@link OnElected}
 * @example
 * class Dispatcher { @OnDeposed('dispatcher')
 *   async stop({ reason }: LockLostError) {
 *     await this.consumer.pause();
 *   }
 * }
 */
export function OnDeposed(
  election: string,
): LeaderListenerDecorator<LockLostError> {
  return listener('OnDeposed', election, arguments[1]);
}

/** @param second the second argument of the decorator: undefined, unless it is used without parentheses */
function listener(
  decorator: LeaderMark['decorator'],
  election: unknown,
  second: unknown,
) {
  refuseBareUse(decorator, election, second);
  return (
    target: object,
    key?: string | symbol,
    descriptor?: MethodDescriptor,
  ): void => {
    requireMethod(decorator, target, key, descriptor);
    if (typeof key === 'symbol') {
      throw new LockConfigurationError([
        `@${decorator}() cannot be applied to ${describeMethod(target, key)}: it is for methods with a name, since Nest does not find those of symbols`,
      ]);
    }
    addLeaderMark(target, key!, { decorator, election });
  };
}

/** How a method under `@LeaderOnly()` is called. */
export interface LeaderOnlyOptions {
  /**
   * What a call does when this process does not lead: `'skip'` (resolve with undefined; a route answers 204) or
   * `'throw'` (reject with `LockNotAcquiredError`; a route answers 423, with `Retry-After`).
   *
   * @defaultValue `'skip'`
   */
  onLocked?: 'skip' | 'throw';
}

type AnyMethod = (...args: any[]) => any;
type MethodDescriptor = Pick<TypedPropertyDescriptor<AnyMethod>, 'value'>;

/** `unknown` for a valid method, else the message that the compiler shows. */
type LeaderOnlyFault<Policy, Method extends AnyMethod> =
  ReturnType<Method> extends PromiseLike<infer Value>
    ? Policy extends 'throw'
      ? unknown
      : undefined extends Value
        ? unknown
        : 'a call that is skipped resolves with undefined: the method must return Promise<… | undefined>'
    : 'a method under @LeaderOnly must return a Promise';

/** A method decorator that accepts only methods whose calls can be skipped. */
export interface LeaderOnlyDecorator<Policy extends 'skip' | 'throw'> {
  <Method extends AnyMethod>(
    target: object,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<Method> &
      LeaderOnlyFault<Policy, Method>,
  ): void;
  /** Only for `applyDecorators()`, whose type requires class decorators, too. On a class it throws. */
  (target: Function): void;
}

/**
 * Runs the method only while this process leads. The leadership of a process ends, and another process can lead after
 * a shutdown, only when such calls have ended too; a leadership that is lost does not wait for them, so long work
 * follows `election.leadership.signal`.
 *
 * @param election as for {@link OnElected}
 * @throws LockNotAcquiredError from a call under `onLocked: 'throw'`
 * @example
 * class Stock { @Cron('* * * * *') @LeaderOnly('dispatcher')
 *   async refresh() {} // in the leading pod
 * }
 */
export function LeaderOnly<Policy extends 'skip' | 'throw' = 'skip'>(
  election: string,
  options: LeaderOnlyOptions & { onLocked?: Policy } = {},
): LeaderOnlyDecorator<Policy> {
  refuseBareUse('LeaderOnly', election, options);
  throwFaults(findObjectFaults('the options of @LeaderOnly()', options));
  throwFaults(findFaults(options, RULES));
  const { onLocked } = options;
  return (
    target: object,
    key?: string | symbol,
    descriptor?: MethodDescriptor,
  ): void => {
    const method = requireMethod('LeaderOnly', target, key, descriptor);
    const only = { prototype: target, key: key!, election, onLocked };
    const wrapper = async function (
      this: unknown,
      ...args: unknown[]
    ): Promise<unknown> {
      return callAsLeader(only, this, () => Reflect.apply(method, this, args));
    };
    takeOver(method, wrapper);
    addLeaderMark(target, key!, { decorator: 'LeaderOnly', election });
    requestLockService(target);
    descriptor!.value = wrapper;
  };
}

const RULES = {
  onLocked: [
    "must be 'skip' or 'throw'",
    (value: unknown) => value === 'skip' || value === 'throw',
  ],
} as const;

async function callAsLeader(
  only: {
    prototype: object;
    key: string | symbol;
    election: string;
    onLocked: LeaderOnlyOptions['onLocked'];
  },
  instance: unknown,
  call: () => unknown,
): Promise<unknown> {
  const { prototype, key, election: name, onLocked } = only;
  const label = describeMethod(prototype, key);
  if (typeof instance !== 'object' || instance === null) {
    throw withoutInstance(label);
  }
  const locks =
    findLockService(instance) ?? (await requireLateService({ key }, instance));
  const election = findElection(locks, name);
  if (election === undefined) {
    refuseCall(
      `${label} did not run, since there is no election ${quote(name)}: ${describeElections(locks)}`,
    );
  }
  const { present } = election;
  if (present !== undefined) {
    return present.run(label, call);
  }
  const controller = Reflect.getPrototypeOf(instance) ?? instance;
  const answer = currentExchange()?.answerOf(controller, { prototype, key });
  if (onLocked !== 'throw') {
    return answer?.skip();
  }
  const error = election.refusal();
  answer?.refuse(error);
  throw error;
}

/** @throws LockConfigurationError for what is not a method of instances */
function requireMethod(
  decorator: LeaderMark['decorator'],
  target: object,
  key: string | symbol | undefined,
  descriptor: MethodDescriptor | undefined,
): AnyMethod {
  refuseStandardUse(decorator, key);
  const method = descriptor?.value;
  const what =
    typeof target === 'function'
      ? `${target.name}${key === undefined ? '' : `.${String(key)}`}`
      : describeMethod(target, key ?? '');
  if (typeof target === 'function' || typeof method !== 'function') {
    throw new LockConfigurationError([
      `@${decorator}() cannot be applied to ${what}: it is for methods of instances, not for ${typeof target === 'function' ? 'classes or static methods' : `${describeValue(method)}: write ${String(key)}() {…}`}`,
    ]);
  }
  return method;
}
