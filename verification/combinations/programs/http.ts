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
import type { Combinations } from './stage.js';

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
  '@Get': (stage) => {
    const { above, below } = stage.lock();
    @Controller('items')
    class Items {
      @above
      @Get(['first', 'second'])
      @below
      async run() {
        stage.enter();
        return { item: 'tea' };
      }
    }
    return serve(
      stage,
      Items,
      get('items/first'),
      get('items/second'),
      get('items/third'),
    );
  },

  '@Post': (stage) => {
    const { above, below } = stage.lock();
    @Controller('items')
    class Items {
      @above
      @Post()
      @below
      async run() {
        stage.enter();
        return { item: 'tea' };
      }
    }
    return serve(stage, Items, post('items', {}), get('items'));
  },

  '@Sse': (stage) => {
    const { above, below } = stage.lock();
    @Controller('items')
    class Items {
      @above
      @Sse()
      @below
      async run() {
        return defer(() => {
          stage.enter();
          return from([{ data: 'one' }, { data: 'two' }]);
        });
      }
    }
    return serve(stage, Items, get('items'));
  },

  '@UseGuards': (stage) => {
    const { above, below } = stage.lock();
    @Controller('items')
    class Items {
      @Get()
      @above
      @UseGuards(AdminGuard)
      @below
      async run() {
        stage.enter();
        return 'admitted';
      }
    }
    return serve(stage, Items, get('items'), get('items', AS_ADMIN));
  },

  '@UseInterceptors': (stage) => {
    const { above, below } = stage.lock();
    @Controller('items')
    class Items {
      @Get()
      @above
      @UseInterceptors(Signature)
      @below
      async run() {
        stage.enter();
        return 'tea';
      }
    }
    return serve(stage, Items, get('items'));
  },

  '@UsePipes': (stage) => {
    const { above, below } = stage.lock();
    @Controller('items')
    class Items {
      @Get(':item')
      @above
      @UsePipes(UpperCase)
      @below
      async run(@Param('item') item: string) {
        stage.enter();
        return item;
      }
    }
    return serve(stage, Items, get('items/tea'));
  },

  '@UseFilters': (stage) => {
    const { above, below } = stage.lock();
    @Controller('items')
    class Items {
      @Get()
      @above
      @UseFilters(Teapot)
      @below
      async run() {
        stage.enter();
        throw new Error('no coffee');
      }
    }
    return serve(stage, Items, get('items'));
  },

  '@Body, @Query, @Param': (stage) => {
    const { above, below } = stage.lock();
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
        stage.enter();
        return { id, size, item, name };
      }
    }
    return serve(stage, Items, post('items/7?size=xl', { name: 'tea' }));
  },

  '@HttpCode, @Header': (stage) => {
    const { above, below } = stage.lock();
    @Controller('items')
    class Items {
      @Get()
      @above
      @HttpCode(202)
      @Header('x-made-by', 'test')
      @below
      async run() {
        stage.enter();
        return 'accepted';
      }
    }
    return serve(stage, Items, get('items'));
  },

  '@SetMetadata, Reflector': (stage) => {
    const { above, below } = stage.lock();
    @Controller('items')
    class Items {
      @UseGuards(RoleGuard)
      @Get()
      @above
      @SetMetadata('role', 'admin')
      @below
      async run() {
        stage.enter();
        return 'admitted';
      }
    }
    return serve(stage, Items, get('items'), get('items', AS_ADMIN));
  },
};
