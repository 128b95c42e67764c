/** What a client of GraphQL is told of each error of a lock, with and without LockErrorFilter. */
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { UseFilters } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Args, GraphQLModule, Query, Resolver } from '@nestjs/graphql';
import {
  K8sLockModule,
  LockErrorFilter,
  LockLostError,
  LockService,
  WithLeaseLock,
  currentLock,
} from 'nestjs-k8s-lock';
import type { LeaseApiServer } from 'nestjs-k8s-lock/testing';
import { post, request } from './http-calls.js';

function failIf(name: string): void {
  const lock = currentLock();
  if (name === 'lost' && lock !== undefined) {
    throw new LockLostError(lock, 'deadline');
  }
}

@Resolver()
class Plain {
  @Query(() => String)
  @WithLeaseLock((name: string) => name, { onLocked: 'throw' })
  async plain(@Args('name') name: string): Promise<string> {
    failIf(name);
    return 'ran';
  }
}

@Resolver()
@UseFilters(LockErrorFilter)
class Filtered {
  @Query(() => String)
  @WithLeaseLock((name: string) => name, { onLocked: 'throw' })
  async filtered(@Args('name') name: string): Promise<string> {
    failIf(name);
    return 'ran';
  }
}

/** The first error of each answer: the lock taken, lost, and refused by the API server. */
export async function askGraphQL(
  server: LeaseApiServer,
): Promise<Record<string, unknown>> {
  const app = await NestFactory.create(
    {
      module: class App {
        readonly name = 'app';
      },
      imports: [
        K8sLockModule.forRoot({
          kubeConfig: await server.kubeConfig(),
          verifyAtStartup: false,
        }),
        GraphQLModule.forRoot<ApolloDriverConfig>({
          driver: ApolloDriver,
          autoSchemaFile: true,
          includeStacktraceInErrorResponses: false,
        }),
      ],
      providers: [Plain, Filtered],
    },
    { logger: false, abortOnError: false },
  );
  await app.listen(0, '127.0.0.1');
  const taken = await app.get(LockService).acquire('taken');
  using _ = server.faults.inject(
    { kind: 'status', code: 403 },
    { name: 'refused' },
  );
  const answers: Record<string, unknown> = {};
  for (const query of ['plain', 'filtered']) {
    for (const name of ['free', 'taken', 'lost', 'refused']) {
      const { body } = await request(
        app,
        post('graphql', { query: `{ ${query}(name: "${name}") }` }),
      );
      const text: string = Reflect.get(Object(body[0]), 'text');
      const { data, errors } = JSON.parse(text);
      answers[`${query} ${name}`] = errors?.[0] ?? data;
    }
  }
  await taken.release();
  await app.close();
  return answers;
}
