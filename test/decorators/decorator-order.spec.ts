/** The order among @WithLeaseLock and the decorators of Nest and @nestjs/schedule does not matter. */
import {
  applyDecorators,
  Controller,
  Get,
  Header,
  HttpCode,
  Injectable,
  Query,
  SetMetadata,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type PipeTransform,
  type Type,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import {
  Cron,
  Interval,
  ScheduleModule,
  SchedulerRegistry,
  Timeout,
} from '@nestjs/schedule';
import { map, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { currentLock, WithLeaseLock } from '../../lib/index.js';
import {
  decorateMethod,
  defer,
  LIVELY,
  permute,
  startLockApp,
} from './lock-app.js';

interface NamedDecorator {
  readonly name: string;
  readonly decorator: MethodDecorator;
}

/** Property name = what it is called in a failure. */
function named(decorators: Record<string, MethodDecorator>): NamedDecorator[] {
  return Object.entries(decorators).map(([name, decorator]) => ({
    name,
    decorator,
  }));
}

const nameOf = (order: readonly NamedDecorator[]): string =>
  order.map(({ name }) => name).join(' > ');

const lockedAs = (name: string): MethodDecorator =>
  applyDecorators(WithLeaseLock(name));

@Injectable()
class RoleGuard implements CanActivate {
  constructor(private readonly reflector: Reflector) {}

  canActivate(context: ExecutionContext): boolean {
    const role = this.reflector.get<string>('role', context.getHandler());
    const { headers } = context.switchToHttp().getRequest<Request>();
    return Reflect.get(headers, 'role') === role;
  }
}

class Bracket implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((text: string) => `[${text}]`));
  }
}

class UpperCase implements PipeTransform<string> {
  transform(text: string): string {
    return text.toUpperCase();
  }
}

class Teapot implements ExceptionFilter {
  catch(error: Error, host: ArgumentsHost): void {
    host.switchToHttp().getResponse().status(418).send(error.message);
  }
}

function makeController(
  path: string,
  decorators: readonly MethodDecorator[],
): Type {
  @Controller(path)
  class Routes {
    async run() {
      return currentLock()?.name ?? 'unlocked';
    }
  }
  decorateMethod(Routes.prototype, 'run', decorators);
  return Routes;
}

function makeEcho(path: string, decorators: MethodDecorator[]): Type {
  @Controller(path)
  class Echo {
    @Get()
    async run(@Query('say') say: string) {
      if (say === 'ERROR' || say === 'error') {
        throw new Error('said error');
      }
      return `${path === 'locked' && currentLock() === undefined ? 'not locked: ' : ''}${say}`;
    }
  }
  decorateMethod(Echo.prototype, 'run', decorators);
  return Echo;
}

/** Providers with one scheduled method each, in every order; each tells the lock of its first run. */
function makeJobs(scheduled: (job: string) => MethodDecorator) {
  return permute([0, 1, 2]).map((order, index) => {
    const job = `job-${index}`;
    const firstRun = defer<string | undefined>();
    class Job {
      async run() {
        firstRun.resolve(currentLock()?.name);
        return 'ran';
      }
    }
    const decorators = named({
      WithLeaseLock: lockedAs(job),
      schedule: scheduled(job),
      SetMetadata: SetMetadata('kept', job),
    });
    const ordered = order.map((position) => decorators[position]!);
    decorateMethod(
      Job.prototype,
      'run',
      ordered.map(({ decorator }) => decorator),
    );
    return { Job, job, firstRun: firstRun.promise, order: nameOf(ordered) };
  });
}

describe('among the decorators of a route', () => {
  const withLock = permute(
    named({
      WithLeaseLock: lockedAs('route'),
      Get: Get(),
      UseGuards: UseGuards(RoleGuard),
      SetMetadata: SetMetadata('role', 'admin'),
    }),
  );

  it('is routed, guarded and locked in all 24 orders', async () => {
    await using fixture = await startLockApp({
      controllers: withLock.map((order, index) =>
        makeController(
          `order-${index}`,
          order.map(({ decorator }) => decorator),
        ),
      ),
    });
    const answers = await Promise.all(
      withLock.map(async (order, index) => {
        const headers = { role: 'admin' };
        const refused = await fixture.request(`order-${index}`);
        const admitted = await fixture.request(`order-${index}`, { headers });
        return [nameOf(order), refused.status, await admitted.text()];
      }),
    );
    expect(answers).toEqual(
      withLock.map((order) => [nameOf(order), 403, 'route']),
    );
  });

  it.each(
    named({
      HttpCode: HttpCode(202),
      Header: Header('x-made-by', 'test'),
      UseInterceptors: UseInterceptors(Bracket),
      UsePipes: UsePipes(UpperCase),
      UseFilters: UseFilters(Teapot),
    }).flatMap((other) => [
      { name: `below ${other.name}`, other, isAbove: false },
      { name: `above ${other.name}`, other, isAbove: true },
    ]),
  )('answers the same as without it: $name', async ({ other, isAbove }) => {
    const lock = lockedAs('echo');
    await using fixture = await startLockApp({
      controllers: [
        makeEcho('plain', [other.decorator]),
        makeEcho(
          'locked',
          isAbove ? [lock, other.decorator] : [other.decorator, lock],
        ),
      ],
    });
    const ask = async (path: string) => {
      const response = await fixture.request(path);
      return [
        response.status,
        response.headers.get('x-made-by'),
        await response.text(),
      ];
    };
    expect(await ask('locked?say=hello')).toEqual(await ask('plain?say=hello'));
    expect(await ask('locked?say=error')).toEqual(await ask('plain?say=error'));
  });
});

describe('among the decorators of a scheduled method', () => {
  const kinds = {
    Cron: (name: string) => Cron('0 0 1 1 *', { name }),
    Interval: (name: string) => Interval(name, 5),
    Timeout: (name: string) => Timeout(name, 1),
  };

  it.each(Object.entries(kinds))(
    '@%s registers the method and runs it locked in every order',
    async (kind, scheduled) => {
      const jobs = makeJobs(scheduled);
      await using fixture = await startLockApp({
        imports: [ScheduleModule.forRoot()],
        providers: jobs.map(({ Job }) => Job),
      });
      if (kind === 'Cron') {
        const registry = fixture.app.get(SchedulerRegistry);
        for (const { job } of jobs) {
          void registry.getCronJob(job).fireOnTick();
        }
      }
      expect(
        await Promise.all(
          jobs.map(async ({ order, firstRun }) => [order, await firstRun]),
        ),
      ).toEqual(jobs.map(({ order, job }) => [order, job]));
    },
  );

  it.each(Object.entries(kinds))(
    'a method under @%s skips by default, in every order',
    async (_, scheduled) => {
      const jobs = makeJobs(scheduled);
      // Without ScheduleModule nothing runs but what the test calls.
      await using fixture = await startLockApp({
        providers: jobs.map(({ Job }) => Job),
      });
      await Promise.all(
        jobs.map(({ job }) => fixture.others.acquire(job, LIVELY)),
      );
      const results = jobs.map(async ({ order, Job }) => [
        order,
        await fixture.app.get(Job).run(),
      ]);
      expect(await Promise.all(results)).toEqual(
        jobs.map(({ order }) => [order, undefined]),
      );
    },
  );

  it('keeps the metadata of decorators on both sides', () => {
    class Job {
      async run() {}
    }
    decorateMethod(Job.prototype, 'run', [
      SetMetadata('above', 1),
      lockedAs('job'),
      SetMetadata('below', 2),
    ]);
    const wrapper: object = Reflect.get(Job.prototype, 'run');
    expect([
      Reflect.getMetadata('above', wrapper),
      Reflect.getMetadata('below', wrapper),
    ]).toEqual([1, 2]);
  });
});
