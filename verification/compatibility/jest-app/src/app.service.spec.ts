import { Test, TestingModule } from '@nestjs/testing';
import {
  K8sLockModule,
  LockBackendError,
  LockConfigurationError,
  LockService,
} from 'nestjs-k8s-lock';
import { LeaseApiServer } from 'nestjs-k8s-lock/testing';
import { AppService } from './app.service';

describe('AppService', () => {
  let server: LeaseApiServer;
  let module: TestingModule;
  let service: AppService;

  beforeEach(async () => {
    server = await LeaseApiServer.start();
    module = await Test.createTestingModule({
      imports: [
        K8sLockModule.forRoot({ kubeConfig: await server.kubeConfig() }),
      ],
      providers: [AppService],
    }).compile();
    await module.init();
    service = module.get(AppService);
  });

  afterEach(async () => {
    await module.close();
    await server.stop();
  });

  it('runs under the lock', async () => {
    expect(await service.nightly()).toBe('nightly-report');
    expect(await service.getHello('you')).toBe('Hello you!');
    expect(await service.byHand()).toBe(true);
    expect(
      server
        .leases('default')
        .map(({ metadata }) => metadata.name)
        .sort(),
    ).toEqual(['by-hand', 'hello-you', 'nightly-report']);
  });

  it('skips while somebody else has the lock', async () => {
    await using lock = await module.get(LockService).acquire('nightly-report');
    expect(await service.nightly()).toBeUndefined();
    expect(lock.isHeld).toBe(true);
  });

  it('hears that there is no API server', async () => {
    await server.refuseConnections();
    const failure = await module
      .get(LockService)
      .tryAcquire('any')
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(LockBackendError);
    expect(failure).toMatchObject({ reason: 'network' });
    expect((failure as LockBackendError).explanation).toContain('ECONNREFUSED');
  });
});

it('says what to do where a kubeconfig was to be read', async () => {
  const module = await Test.createTestingModule({
    imports: [K8sLockModule.forRoot({ verifyAtStartup: false })],
  }).compile();
  const failure = await module
    .get(LockService)
    .acquire('any')
    .catch((error: unknown) => error);
  expect((failure as LockConfigurationError).explanation).toContain(
    'Jest cannot load @kubernetes/client-node, which reads the kubeconfig, because it is an ES module. In tests pass `kubeConfig`',
  );
});
