/** @nestjs/graphql with Apollo: the schema, and queries and mutations over HTTP. */
import type { Type } from '@nestjs/common';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import {
  Args,
  Field,
  GraphQLModule,
  GraphQLSchemaHost,
  Mutation,
  ObjectType,
  Query,
  Resolver,
} from '@nestjs/graphql';
import { printSchema } from 'graphql';
import { post, request } from './http-calls.js';
import type {
  Combinations,
  Outcome,
  CombinationRun,
} from './combination-run.js';

@ObjectType()
class Item {
  @Field()
  name!: string;
}

export const graphql: Combinations = {
  'GraphQL @Query': (run) => {
    const { above, below } = run.lock();
    @Resolver(() => Item)
    class Items {
      @above
      @Query(() => Item, { description: 'Finds an item', nullable: true })
      @below
      async run(@Args('name') name: string): Promise<Item> {
        run.enter();
        if (name === 'none') {
          throw new Error('no such item');
        }
        return { name };
      }
    }
    return resolve(
      run,
      Items,
      '{ run(name: "tea") { name } }',
      '{ run(name: "none") { name } }',
      '{ run { name } }',
    );
  },

  'GraphQL @Mutation': (run) => {
    const { above, below } = run.lock();
    @Resolver(() => Item)
    class Items {
      @Query(() => Boolean)
      isThere() {
        return true;
      }

      @above
      @Mutation(() => Item, { name: 'addItem' })
      @below
      async run(@Args('name') name: string): Promise<Item> {
        run.enter();
        return { name };
      }
    }
    return resolve(
      run,
      Items,
      'mutation { addItem(name: "tea") { name } }',
      'mutation { addItem(name: 7) { name } }',
    );
  },
};

async function resolve(
  run: CombinationRun,
  resolver: Type,
  ...queries: readonly string[]
): Promise<Outcome> {
  const app = await run.start({
    imports: [
      GraphQLModule.forRoot<ApolloDriverConfig>({
        driver: ApolloDriver,
        autoSchemaFile: true,
        includeStacktraceInErrorResponses: false,
      }),
    ],
    providers: [resolver],
  });
  const answers = await request(
    app,
    ...queries.map((query) => post('graphql', { query })),
  );
  return {
    ...answers,
    method: [resolver, 'run'],
    registration: printSchema(app.get(GraphQLSchemaHost).schema),
  };
}
