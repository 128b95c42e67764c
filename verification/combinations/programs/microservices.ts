/** @nestjs/microservices: message and event handlers, called over TCP. */
import type { Server } from 'node:net';
import { Controller, type INestApplication } from '@nestjs/common';
import {
  ClientProxyFactory,
  EventPattern,
  MessagePattern,
  Payload,
  RpcException,
  Transport,
  type ClientProxy,
  type ServerTCP,
} from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';
import type { Combinations, CombinationRun } from './combination-run.js';

export const microservices: Combinations = {
  '@MessagePattern over TCP': async (run) => {
    const { above, below } = run.lock();
    @Controller()
    class Orders {
      @above
      @MessagePattern({ find: 'order' })
      @below
      async run(@Payload('id') id: string) {
        run.enter();
        if (id === 'none') {
          throw new RpcException('no such order');
        }
        return { order: id };
      }
    }
    const app = await run.start({ controllers: [Orders] });
    const { client, patterns } = await serveTcp(run, app);
    const send = (pattern: object, id: string): Promise<unknown> =>
      lastValueFrom(client.send(pattern, { id }));
    return {
      status: await Promise.allSettled([
        send({ find: 'order' }, 'none'),
        send({ find: 'nothing' }, '7'),
      ]),
      body: await send({ find: 'order' }, '7'),
      method: [Orders, 'run'],
      registration: patterns,
    };
  },

  '@EventPattern over TCP': async (run) => {
    const { above, below } = run.lock();
    @Controller()
    class Orders {
      @above
      @EventPattern('order.paid')
      @below
      async run(@Payload() order: object) {
        run.enter(order);
      }
    }
    const app = await run.start({ controllers: [Orders] });
    const { client, patterns } = await serveTcp(run, app);
    await lastValueFrom(client.emit('order.paid', { id: '7' }));
    return {
      body: await run.entered(),
      method: [Orders, 'run'],
      registration: patterns,
    };
  },
};

/** Serves what is in the application over TCP too, on a free port. */
async function serveTcp(
  run: CombinationRun,
  app: INestApplication,
): Promise<{ client: ClientProxy; patterns: unknown }> {
  const host = '127.0.0.1';
  const service = app.connectMicroservice({
    transport: Transport.TCP,
    options: { host, port: 0 },
  });
  await app.startAllMicroservices();
  const address = service.unwrap<Server>().address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const client = ClientProxyFactory.create({
    transport: Transport.TCP,
    options: { host, port },
  });
  run.onClose(() => client.close());
  const server: ServerTCP = Reflect.get(service, 'serverInstance');
  const patterns = [...server.getHandlers()].map(
    ([pattern, { isEventHandler }]) => ({ pattern, isEventHandler }),
  );
  return { client, patterns };
}
