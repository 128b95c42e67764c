import { Test, TestingModule } from '@nestjs/testing';
import { LockService } from 'nestjs-k8s-lock';
import {
  K8sLockTestingModule,
  LockTestingController,
} from 'nestjs-k8s-lock/testing';
import { AppService } from './app.service';

describe('AppService, with locks in memory', () => {
  let module: TestingModule;
  let locks: LockTestingController;
  let service: AppService;

  async function start() {
    module = await Test.createTestingModule({
      imports: [K8sLockTestingModule.forRoot()],
      providers: [AppService],
    }).compile();
    await module.init();
    locks = module.get(LockTestingController);
    service = module.get(AppService);
  }

  afterEach(async () => {
    await module.close();
    jest.useRealTimers();
  });

  it('runs once', async () => {
    await start();
    await service.nightly();
    locks.assertRanOnce('AppService.nightly');
  });

  it('is skipped while another pod runs it', async () => {
    await start();
    const release = await locks.holdElsewhere('nightly-report');
    await service.nightly();
    locks.assertSkipped('nightly-report', 'held');
    await release();
  });

  it('loses the lock that another pod takes', async () => {
    await start();
    const lock = await module.get(LockService).acquire('by-hand');
    await locks.stealFrom('by-hand');
    expect(lock.signal.reason).toMatchObject({ reason: 'taken' });
  });

  it('gives up when the API server fails for too long', async () => {
    await start();
    locks.stopTime();
    locks.failNext('unavailable', { times: Infinity });
    const hello = service.getHello('you').catch((error: Error) => error);
    await locks.advance(10_000);
    expect(await hello).toMatchObject({ reason: 'server' });
  });

  it('waits in fake time', async () => {
    jest.useFakeTimers();
    await start();
    await locks.holdElsewhere('hello-you');
    const hello = service.getHello('you').catch((error: Error) => error);
    await jest.advanceTimersByTimeAsync(10_000);
    expect(await hello).toMatchObject({ reason: 'timeout' });
  });
});
