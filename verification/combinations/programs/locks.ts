/** More than one lock, and a lock that is held already. */
import { Controller, Get, SetMetadata } from '@nestjs/common';
import { get, serve } from './http-calls.js';
import type { Combinations } from './stage.js';

export const locks: Combinations = {
  'two locks, in either order': (stage) => {
    const one = stage.lock('one');
    const two = stage.lock('two');
    @Controller('items')
    class Items {
      @one.above
      @two.above
      @Get()
      @two.below
      @one.below
      async run() {
        stage.enter();
        return 'tea';
      }
    }
    return serve(stage, Items, get('items'), get('items'));
  },

  'a method that calls another under the same lock': (stage) => {
    const { above, below } = stage.lock();
    @Controller('items')
    class Items {
      @above
      @Get()
      @below
      async run() {
        stage.enter();
        return `first ${await this.next()}`;
      }

      @above
      @SetMetadata('role', 'admin')
      @below
      async next() {
        stage.enter();
        return 'next';
      }
    }
    return serve(stage, Items, get('items'));
  },
};
