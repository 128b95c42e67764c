/** Providers of every scope and kind. */
import {
  Controller,
  Get,
  Inject,
  Injectable,
  Scope,
  SetMetadata,
  type InjectableOptions,
  type Provider,
  type Type,
} from '@nestjs/common';
import {
  ContextIdFactory,
  DiscoveryModule,
  DiscoveryService,
  type ContextId,
  type ContextIdStrategy,
  type HostComponentInfo,
} from '@nestjs/core';
import { get, request } from './http-calls.js';
import type {
  Combinations,
  Outcome,
  CombinationRun,
} from './combination-run.js';

const CLERK = Symbol('the provider under test');

interface Clerk {
  run(item: string): Promise<string>;
}

/** The requests of one tenant share what is durable. */
class ByTenant implements ContextIdStrategy {
  private readonly tenants = new Map<unknown, ContextId>();

  attach(
    contextId: ContextId,
    { headers }: { headers: Record<string, unknown> },
  ): (info: HostComponentInfo) => ContextId {
    const tenant =
      this.tenants.get(headers.tenant) ?? ContextIdFactory.create();
    this.tenants.set(headers.tenant, tenant);
    return ({ isTreeDurable }) => (isTreeDurable ? tenant : contextId);
  }
}

export const providers: Combinations = {
  'request-scoped provider': (run) => {
    const clerk = makeClerk(run, { scope: Scope.REQUEST });
    return provide(run, clerk, { provide: CLERK, useClass: clerk });
  },

  'transient provider': (run) => {
    const clerk = makeClerk(run, { scope: Scope.TRANSIENT });
    return provide(run, clerk, { provide: CLERK, useClass: clerk });
  },

  'durable provider': (run) => {
    const clerk = makeClerk(run, { scope: Scope.REQUEST, durable: true });
    ContextIdFactory.apply(new ByTenant());
    return provide(run, clerk, { provide: CLERK, useClass: clerk });
  },

  'useFactory provider': (run) => {
    const clerk = makeClerk(run);
    return provide(run, clerk, {
      provide: CLERK,
      useFactory: () => new clerk(),
    });
  },

  'useValue provider': (run) => {
    const clerk = makeClerk(run);
    return provide(run, clerk, { provide: CLERK, useValue: new clerk() });
  },
};

/** A class whose instances are numbered, so that one sees which of them answered. */
function makeClerk(
  run: CombinationRun,
  options?: InjectableOptions,
): Type<Clerk> {
  const { above, below } = run.lock();
  let made = 0;
  @Injectable(options)
  class NumberedClerk implements Clerk {
    private readonly number = (made += 1);

    @above
    @SetMetadata('role', 'clerk')
    @below
    async run(item: string) {
      run.enter();
      return `clerk ${this.number} sold ${item}`;
    }
  }
  return NumberedClerk;
}

/** It is injected into two others, and three requests come for it. */
async function provide(
  run: CombinationRun,
  type: Type<Clerk>,
  provider: Provider,
): Promise<Outcome> {
  @Injectable()
  class Storeroom {
    constructor(@Inject(CLERK) readonly clerk: Clerk) {}
  }
  @Controller('shop')
  class Shop {
    constructor(
      @Inject(CLERK) private readonly clerk: Clerk,
      private readonly storeroom: Storeroom,
    ) {}

    @Get()
    async sell() {
      return [
        await this.clerk.run('tea'),
        await this.storeroom.clerk.run('cups'),
      ];
    }
  }
  const app = await run.start({
    imports: [DiscoveryModule],
    controllers: [Shop],
    providers: [Storeroom, provider],
  });
  const answers = await request(
    app,
    get('shop', { tenant: 'one' }),
    get('shop', { tenant: 'one' }),
    get('shop', { tenant: 'two' }),
  );
  const found = app
    .get(DiscoveryService)
    .getProviders()
    .filter(({ token }) => token === CLERK);
  return {
    ...answers,
    method: [type, 'run'],
    registration: found.map((wrapper) => ({
      scope: wrapper.scope,
      durable: wrapper.durable,
      isStatic: wrapper.isDependencyTreeStatic(),
    })),
  };
}
