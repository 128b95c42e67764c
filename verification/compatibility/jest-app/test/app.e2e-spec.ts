import { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { K8sLockModule, LockService } from 'nestjs-k8s-lock';
import {
  K8sLockTestingModule,
  LeaseApiServer,
  LockTestingController,
} from 'nestjs-k8s-lock/testing';
import request from 'supertest';
import { App } from 'supertest/types';
import { AppModule, locks } from '../src/app.module';

describe('AppController (e2e)', () => {
  let app: INestApplication<App>;

  afterEach(() => app.close());

  it('GET / with a server for locks', async () => {
    await using server = await LeaseApiServer.start();
    const kubeConfig = await server.kubeConfig({ namespace: 'jobs' });
    const module = await Test.createTestingModule({ imports: [AppModule] })
      .overrideModule(locks)
      .useModule(K8sLockModule.forRoot({ kubeConfig }))
      .compile();
    app = module.createNestApplication();
    await app.init();
    await request(app.getHttpServer())
      .get('/')
      .expect(200)
      .expect('Hello world!');
    expect(
      server.lease({ namespace: 'jobs', name: 'hello-world' }),
    ).toBeDefined();
  });

  it('GET / with locks in memory', async () => {
    const module = await Test.createTestingModule({
      imports: [AppModule, K8sLockTestingModule.forApplication()],
    }).compile();
    app = module.createNestApplication();
    await app.init();
    await request(app.getHttpServer())
      .get('/')
      .expect(200)
      .expect('Hello world!');
    module.get(LockTestingController).assertRanOnce('hello-world');
  });

  it('GET / with a stub', async () => {
    const withLock = jest.fn((_name: string, work: () => unknown) => work());
    const module = await Test.createTestingModule({ imports: [AppModule] })
      .overrideProvider(LockService)
      .useValue({ withLock })
      .compile();
    app = module.createNestApplication();
    await app.init();
    await request(app.getHttpServer())
      .get('/')
      .expect(200)
      .expect('Hello world!');
    expect(withLock).toHaveBeenCalledWith('hello-world', expect.any(Function));
  });

  it('GET / with an automatic mock, which runs nothing', async () => {
    const module = await Test.createTestingModule({ imports: [AppModule] })
      .overrideProvider(LockService)
      .useValue({ withLock: jest.fn() })
      .compile();
    app = module.createNestApplication({ logger: false });
    await app.init();
    await request(app.getHttpServer()).get('/').expect(500);
  });
});
