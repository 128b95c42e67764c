/** More than one lock, and a lock that is held already. */
import { Controller, Get, SetMetadata } from '@nestjs/common';
import { get, serve } from './http-calls.js';
import type { Combinations } from './combination-run.js';

export const locks: Combinations = {
  'two locks, in either order': (run) => {
    const one = run.lock('one');
    const two = run.lock('two');
    @Controller('items')
    class Items {
      @one.above
      @two.above
      @Get()
      @two.below
      @one.below
      async run() {
        run.enter();
        return 'tea';
      }
    }
    return serve(run, Items, get('items'), get('items'));
  },

  'a method that calls another under the same lock': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @above
      @Get()
      @below
      async run() {
        run.enter();
        return `first ${await this.next()}`;
      }

      @above
      @SetMetadata('role', 'admin')
      @below
      async next() {
        run.enter();
        return 'next';
      }
    }
    return serve(run, Items, get('items'));
  },
};
