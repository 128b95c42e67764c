/** A skipped route answers 204 whatever its path is made of, and a route that calls another one's locked method answers by itself. */
import {
  All,
  Controller,
  Get,
  Head,
  Module,
  Post,
  Version,
  VersioningType,
} from '@nestjs/common';
import { RouterModule } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WithLeaseLock } from '../../lib/index.js';
import { PLATFORMS } from '../decorators/http-clients.js';
import { startLockApp, type LockApp } from '../decorators/lock-app.js';

const SKIP = { onLocked: 'skip' } as const;

@Controller()
class Root {
  @Get()
  @WithLeaseLock('taken', SKIP)
  async root(): Promise<string | undefined> {
    return 'ran';
  }

  @Get('calls-root')
  async callsRoot() {
    return `called: ${String(await this.root())}`;
  }
}

@Controller(['orders', 'sales'])
class Orders {
  @Get([':id', ':id/details'])
  @WithLeaseLock('taken', SKIP)
  async find(): Promise<string | undefined> {
    return 'ran';
  }

  @Post(':id')
  async post() {
    return `called: ${String(await this.find())}`;
  }

  @Get(':id/calls/details')
  async details() {
    return `called: ${String(await this.find())}`;
  }

  @All('all/of/them')
  @WithLeaseLock('taken', SKIP)
  async all(): Promise<string | undefined> {
    return 'ran';
  }

  @Head('only/head')
  @WithLeaseLock('taken', SKIP)
  async head(): Promise<void> {}

  @Get('files/*')
  @WithLeaseLock('taken', SKIP)
  async files(): Promise<string | undefined> {
    return 'ran';
  }
}

@Controller({ path: 'reports', version: '1' })
class Reports {
  @Get()
  @WithLeaseLock('taken', SKIP)
  async list(): Promise<string | undefined> {
    return 'ran';
  }

  @Version('2')
  @Get()
  async listLater() {
    return 'later';
  }

  @Version('3')
  @Get()
  @WithLeaseLock('taken', SKIP)
  async listLast(): Promise<string | undefined> {
    return 'ran';
  }
}

@Controller('inner')
class Inner {
  @Get()
  @WithLeaseLock('taken', SKIP)
  async inner(): Promise<string | undefined> {
    return 'ran';
  }
}

@Module({ controllers: [Inner] })
class InnerModule {}

/** Its route is the inherited one, under a path of its own. */
@Controller('special')
class Special extends Inner {}

describe.each(Object.entries(PLATFORMS))('on %s', (_platform, makeAdapter) => {
  let fixture: LockApp;
  beforeAll(async () => {
    fixture = await startLockApp(
      {
        imports: [
          InnerModule,
          RouterModule.register([{ path: 'outer', module: InnerModule }]),
        ],
        controllers: [Root, Orders, Reports, Special],
      },
      {
        adapter: makeAdapter(),
        configure: (app) =>
          app
            .setGlobalPrefix('api')
            .enableVersioning({ type: VersioningType.URI }),
      },
    );
    await fixture.others.acquire('taken', { leaseDuration: 'infinite' });
  });
  afterAll(() => fixture[Symbol.asyncDispose]());

  const ask = async (path: string, method = 'GET') => {
    const answer = await fixture.request(`api${path}`, { method });
    return [answer.status, await answer.text()];
  };

  it.each([
    [''],
    ['/orders/7'],
    ['/sales/7'],
    ['/sales/7/details'],
    ['/orders/7', 'HEAD'],
    ['/orders/all/of/them'],
    ['/orders/all/of/them', 'PATCH'],
    ['/orders/only/head', 'HEAD'],
    ['/orders/files/a/b.txt'],
    ['/v1/reports'],
    ['/v3/reports'],
    ['/outer/inner'],
    ['/special'],
  ])('answers 204: %j', async (path, method?: string) => {
    expect(await ask(path, method)).toEqual([204, '']);
  });

  it.each([
    ['/calls-root', 'GET', 200, 'called: undefined'],
    ['/orders/7', 'POST', 201, 'called: undefined'],
    ['/orders/7/calls/details', 'GET', 200, 'called: undefined'],
    ['/v2/reports', 'GET', 200, 'later'],
  ])('answers by itself: %s %s', async (path, method, ...answer) => {
    expect(await ask(path, method)).toEqual(answer);
  });
});
