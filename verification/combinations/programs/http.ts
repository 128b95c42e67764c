/** Controllers: routes, enhancers, parameters and answers. */
import {
  Body,
  Controller,
  Get,
  Header,
  HttpCode,
  Injectable,
  Param,
  Post,
  Query,
  SetMetadata,
  Sse,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { defer, from, map, type Observable } from 'rxjs';
import { get, post, serve } from './http-calls.js';
import type { Combinations } from './combination-run.js';

const roleOf = (context: ExecutionContext): unknown => {
  const request: { headers: Record<string, unknown> } = context
    .switchToHttp()
    .getRequest();
  return request.headers.role;
};

export class AdminGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    return roleOf(context) === 'admin';
  }
}

/** Admits those who have the role that is written on the route. */
@Injectable()
class RoleGuard implements CanActivate {
  constructor(private readonly reflector: Reflector) {}

  canActivate(context: ExecutionContext): boolean {
    const role = this.reflector.get<string>('role', context.getHandler());
    return roleOf(context) === role;
  }
}

/** Puts the name of the handler before what it answers. */
class Signature implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const { name } = context.getHandler();
    return next.handle().pipe(map((answer) => `${name}: ${answer}`));
  }
}

class UpperCase implements PipeTransform<string> {
  transform(text: string): string {
    return text.toUpperCase();
  }
}

class Teapot implements ExceptionFilter {
  catch(error: Error, host: ArgumentsHost): void {
    host.switchToHttp().getResponse().status(418).send(error.message);
  }
}

export const AS_ADMIN = { role: 'admin' };

export const http: Combinations = {
  '@Get': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @above
      @Get(['first', 'second'])
      @below
      async run() {
        run.enter();
        return { item: 'tea' };
      }
    }
    return serve(
      run,
      Items,
      get('items/first'),
      get('items/second'),
      get('items/third'),
    );
  },

  '@Post': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @above
      @Post()
      @below
      async run() {
        run.enter();
        return { item: 'tea' };
      }
    }
    return serve(run, Items, post('items', {}), get('items'));
  },

  '@Sse': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @above
      @Sse()
      @below
      async run() {
        return defer(() => {
          run.enter();
          return from([{ data: 'one' }, { data: 'two' }]);
        });
      }
    }
    return serve(run, Items, get('items'));
  },

  '@UseGuards': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @Get()
      @above
      @UseGuards(AdminGuard)
      @below
      async run() {
        run.enter();
        return 'admitted';
      }
    }
    return serve(run, Items, get('items'), get('items', AS_ADMIN));
  },

  '@UseInterceptors': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @Get()
      @above
      @UseInterceptors(Signature)
      @below
      async run() {
        run.enter();
        return 'tea';
      }
    }
    return serve(run, Items, get('items'));
  },

  '@UsePipes': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @Get(':item')
      @above
      @UsePipes(UpperCase)
      @below
      async run(@Param('item') item: string) {
        run.enter();
        return item;
      }
    }
    return serve(run, Items, get('items/tea'));
  },

  '@UseFilters': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @Get()
      @above
      @UseFilters(Teapot)
      @below
      async run() {
        run.enter();
        throw new Error('no coffee');
      }
    }
    return serve(run, Items, get('items'));
  },

  '@Body, @Query, @Param': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @above
      @Post(':id')
      @below
      async run(
        @Param('id') id: string,
        @Query('size') size: string,
        @Body() item: object,
        @Body('name', UpperCase) name: string,
      ) {
        run.enter();
        return { id, size, item, name };
      }
    }
    return serve(run, Items, post('items/7?size=xl', { name: 'tea' }));
  },

  '@HttpCode, @Header': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @Get()
      @above
      @HttpCode(202)
      @Header('x-made-by', 'test')
      @below
      async run() {
        run.enter();
        return 'accepted';
      }
    }
    return serve(run, Items, get('items'));
  },

  '@SetMetadata, Reflector': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @UseGuards(RoleGuard)
      @Get()
      @above
      @SetMetadata('role', 'admin')
      @below
      async run() {
        run.enter();
        return 'admitted';
      }
    }
    return serve(run, Items, get('items'), get('items', AS_ADMIN));
  },
};
