/** @nestjs/cqrs: handlers of commands, queries and events. */
import { SetMetadata } from '@nestjs/common';
import {
  Command,
  CommandBus,
  CommandHandler,
  CqrsModule,
  EventBus,
  EventsHandler,
  Query,
  QueryBus,
  QueryHandler,
  type ICommandHandler,
  type IEventHandler,
  type IQueryHandler,
} from '@nestjs/cqrs';
import type { Combinations } from './combination-run.js';

class PayOrder extends Command<string> {
  constructor(readonly id: string) {
    super();
  }
}

class FindOrder extends Query<string> {
  constructor(readonly id: string) {
    super();
  }
}

class OrderPaid {
  constructor(readonly id: string) {}
}

const imports = [CqrsModule.forRoot()];

function answer(id: string): string {
  if (id === 'none') {
    throw new Error('no such order');
  }
  return `order ${id}`;
}

/** The commands or queries that a bus has a handler for. */
const handledBy = (bus: object): unknown[] => {
  const handlers: Map<string, unknown> = Reflect.get(bus, 'handlers');
  return [...handlers.keys()];
};

export const cqrs: Combinations = {
  'CQRS @CommandHandler execute()': async (run) => {
    const { above, below } = run.lock();
    @CommandHandler(PayOrder)
    class Handler implements ICommandHandler<PayOrder> {
      @above
      @SetMetadata('audited', true)
      @below
      async execute({ id }: PayOrder) {
        run.enter();
        return answer(id);
      }
    }
    const app = await run.start({ imports, providers: [Handler] });
    const bus = app.get(CommandBus);
    return {
      status: await bus.execute(new PayOrder('none')).catch(String),
      body: await bus.execute(new PayOrder('7')),
      method: [Handler, 'execute'],
      registration: handledBy(bus),
    };
  },

  'CQRS @QueryHandler execute()': async (run) => {
    const { above, below } = run.lock();
    @QueryHandler(FindOrder)
    class Handler implements IQueryHandler<FindOrder> {
      @above
      @SetMetadata('audited', true)
      @below
      async execute({ id }: FindOrder) {
        run.enter();
        return answer(id);
      }
    }
    const app = await run.start({ imports, providers: [Handler] });
    const bus = app.get(QueryBus);
    return {
      status: await bus.execute(new FindOrder('none')).catch(String),
      body: await bus.execute(new FindOrder('7')),
      method: [Handler, 'execute'],
      registration: handledBy(bus),
    };
  },

  'CQRS @EventsHandler handle()': async (run) => {
    const { above, below } = run.lock();
    @EventsHandler(OrderPaid)
    class Handler implements IEventHandler<OrderPaid> {
      @above
      @SetMetadata('audited', true)
      @below
      async handle({ id }: OrderPaid) {
        run.enter(id);
      }
    }
    const app = await run.start({ imports, providers: [Handler] });
    const bus = app.get(EventBus);
    const subscriptions: unknown[] = Reflect.get(bus, 'subscriptions');
    const registration = { subscriptions: subscriptions.length };
    bus.publish(new OrderPaid('7'));
    return {
      body: await run.entered(),
      method: [Handler, 'handle'],
      registration,
    };
  },
};
