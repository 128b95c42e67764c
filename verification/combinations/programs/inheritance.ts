/** Methods that are inherited or overridden. */
import { Controller, Get, SetMetadata } from '@nestjs/common';
import { WithLeaseLock } from 'nestjs-k8s-lock';
import { get, serve } from './http-calls.js';
import type { Combinations } from './combination-run.js';

export const inheritance: Combinations = {
  'inherited method': (run) => {
    const { above, below } = run.lock();
    abstract class Base {
      @above
      @Get()
      @below
      async run() {
        run.enter();
        return this.name;
      }

      abstract readonly name: string;
    }
    @Controller('items')
    class Items extends Base {
      readonly name = 'items';
    }
    return serve(run, Items, get('items'));
  },

  'override that calls super': async (run) => {
    const { above, below } = run.lock();
    class Base {
      @above
      @SetMetadata('role', 'admin')
      @below
      async run() {
        run.enter();
        return 'base';
      }
    }
    @Controller('items')
    class Items extends Base {
      @Get()
      override async run() {
        return `items, ${await super.run()}`;
      }
    }
    const outcome = await serve(run, Items, get('items'));
    return { ...outcome, method: [Base, 'run'] };
  },

  'override that calls super, each with a lock': (run) => {
    const outer = run.lock('outer');
    const inner = run.lock('inner');
    class Base {
      @inner.above
      @SetMetadata('role', 'admin')
      @inner.below
      async run() {
        run.enter();
        return 'base';
      }
    }
    @Controller('items')
    class Items extends Base {
      @outer.above
      @Get()
      @outer.below
      override async run() {
        return `items, ${await super.run()}`;
      }
    }
    return serve(run, Items, get('items'));
  },

  'override without super': (run) => {
    const { above, below } = run.lock();
    class Base {
      @WithLeaseLock('never-taken')
      async run() {
        return 'base';
      }
    }
    @Controller('items')
    class Items extends Base {
      @above
      @Get()
      @below
      override async run() {
        run.enter();
        return 'items';
      }
    }
    return serve(run, Items, get('items'));
  },
};
