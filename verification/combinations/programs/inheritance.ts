/** Methods that are inherited or overridden. */
import { Controller, Get, SetMetadata } from '@nestjs/common';
import { WithLeaseLock } from 'nestjs-k8s-lock';
import { get, serve } from './http-calls.js';
import type { Combinations } from './stage.js';

export const inheritance: Combinations = {
  'inherited method': (stage) => {
    const { above, below } = stage.lock();
    abstract class Base {
      @above
      @Get()
      @below
      async run() {
        stage.enter();
        return this.name;
      }

      abstract readonly name: string;
    }
    @Controller('items')
    class Items extends Base {
      readonly name = 'items';
    }
    return serve(stage, Items, get('items'));
  },

  'override that calls super': async (stage) => {
    const { above, below } = stage.lock();
    class Base {
      @above
      @SetMetadata('role', 'admin')
      @below
      async run() {
        stage.enter();
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
    const outcome = await serve(stage, Items, get('items'));
    return { ...outcome, method: [Base, 'run'] };
  },

  'override that calls super, each with a lock': (stage) => {
    const outer = stage.lock('outer');
    const inner = stage.lock('inner');
    class Base {
      @inner.above
      @SetMetadata('role', 'admin')
      @inner.below
      async run() {
        stage.enter();
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
    return serve(stage, Items, get('items'));
  },

  'override without super': (stage) => {
    const { above, below } = stage.lock();
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
        stage.enter();
        return 'items';
      }
    }
    return serve(stage, Items, get('items'));
  },
};
