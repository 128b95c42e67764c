/** @nestjs/event-emitter: listeners. */
import { Injectable } from '@nestjs/common';
import {
  EventEmitter2,
  EventEmitterModule,
  OnEvent,
} from '@nestjs/event-emitter';
import type { Combinations } from './combination-run.js';

export const eventEmitter: Combinations = {
  '@OnEvent': async (run) => {
    const { above, below } = run.lock();
    @Injectable()
    class Orders {
      @above
      @OnEvent('order.*', { suppressErrors: false })
      @OnEvent('refund')
      @below
      async run(id: string) {
        run.enter();
        if (id === 'none') {
          throw new Error('no such order');
        }
        return `order ${id}`;
      }
    }
    const app = await run.start({
      imports: [EventEmitterModule.forRoot({ wildcard: true })],
      providers: [Orders],
    });
    const events = app.get(EventEmitter2);
    return {
      status: await events.emitAsync('order.paid', 'none').catch(String),
      body: [
        await events.emitAsync('order.paid', '7'),
        await events.emitAsync('refund', '8'),
        await events.emitAsync('other', '9'),
      ],
      method: [Orders, 'run'],
      registration: events.eventNames(),
    };
  },
};
