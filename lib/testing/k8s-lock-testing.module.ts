/** K8sLockTestingModule: K8sLockModule in memory, for tests. */
import { Module, type DynamicModule } from '@nestjs/common';
import { K8sLockModule } from '../k8s-lock.module.js';
import type { K8sLockModuleExtras } from '../k8s-lock.module-definition.js';
import { throwFaults, type K8sLockModuleOptions } from '../k8s-lock.options.js';
import { LOCK_BACKEND } from '../lock.client.js';
import { LockTestingController } from './lock-testing-controller.js';

/** The options of `K8sLockModule.forRoot()` without those that lead to a cluster. */
export type K8sLockTestingOptions = Omit<
  K8sLockModuleOptions,
  'kubeConfig' | 'inCluster'
> &
  K8sLockModuleExtras;

/**
 * Locks in memory, for tests: the engine of {@link K8sLockModule} without a cluster, a request or a file. Provides
 * {@link LockTestingController}.
 *
 * @example
 * const moduleRef = await Test.createTestingModule({
 *   imports: [K8sLockTestingModule.forRoot()],
 *   providers: [Reports],
 * }).compile();
 *
 * @example
 * const moduleRef = await Test.createTestingModule({
 *   imports: [AppModule, K8sLockTestingModule.forApplication()],
 * }).compile();
 */
@Module({})
export class K8sLockTestingModule {
  /**
   * Instead of `K8sLockModule.forRoot()`.
   *
   * @param options those of `K8sLockModule.forRoot()`; `shutdownTimeout` is 0 by default, so that no test waits
   * for a lock that it leaves held
   * @param controller lets several applications share their locks, as pods do: pass the same to each
   */
  static forRoot(
    options: K8sLockTestingOptions = {},
    controller: LockTestingController = new LockTestingController(),
  ): DynamicModule {
    const given = Object.keys(Object(options)).filter(
      (name) => name === 'kubeConfig' || name === 'inCluster',
    );
    throwFaults(
      given.map(
        (name) =>
          `${name} is not an option of K8sLockTestingModule.forRoot(), whose locks are in memory: remove it`,
      ),
    );
    const module = K8sLockModule.forRoot({ shutdownTimeout: 0, ...options });
    return {
      ...module,
      providers: [...(module.providers ?? []), ...providersOf(controller)],
      exports: [...(module.exports ?? []), LockTestingController],
    };
  }

  /**
   * Beside the module of an application, which imports `K8sLockModule` with its own options: takes its locks
   * into memory.
   *
   * @param controller as for {@link forRoot}
   */
  static forApplication(
    controller: LockTestingController = new LockTestingController(),
  ): DynamicModule {
    return {
      module: K8sLockTestingModule,
      global: true,
      providers: providersOf(controller),
      exports: [LOCK_BACKEND, LockTestingController],
    };
  }
}

function providersOf(controller: LockTestingController) {
  return [
    { provide: LOCK_BACKEND, useValue: controller.backend },
    { provide: LockTestingController, useValue: controller },
  ];
}
