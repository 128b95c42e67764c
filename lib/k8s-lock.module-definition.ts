/** Defines `forRoot` and `forRootAsync` with Nest's ConfigurableModuleBuilder. */
import { ConfigurableModuleBuilder } from '@nestjs/common';
import {
  BOOLEAN,
  findFaults,
  throwFaults,
  type K8sLockModuleOptions,
} from './k8s-lock.options.js';

/** The token of a provider that only `forRoot` and `forRootAsync` add. */
export const IS_CONFIGURED = Symbol('K8S_LOCK_IS_CONFIGURED');

/** The settings of the dynamic module that are not options of locks. */
export interface K8sLockModuleExtras {
  /**
   * Offer `LockService` to every module, not only to those that import this one. In `forRootAsync()` it
   * goes beside `useFactory`, not into the result of the factory.
   *
   * @defaultValue `true`
   */
  isGlobal?: boolean;
}

export const {
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
  OPTIONS_TYPE,
  ASYNC_OPTIONS_TYPE,
} = new ConfigurableModuleBuilder<K8sLockModuleOptions>({
  moduleName: 'K8sLock',
})
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createK8sLockOptions')
  .setExtras<K8sLockModuleExtras>(
    { isGlobal: true },
    (definition, { isGlobal = true }) => {
      throwFaults(findFaults({ isGlobal }, { isGlobal: BOOLEAN }));
      return {
        ...definition,
        global: isGlobal,
        providers: [
          ...(definition.providers ?? []),
          { provide: IS_CONFIGURED, useValue: true },
        ],
      };
    },
  )
  .build();

/** The interface of a class for `forRootAsync({ useClass })` or `({ useExisting })`. */
export interface K8sLockOptionsFactory {
  createK8sLockOptions(): K8sLockModuleOptions | Promise<K8sLockModuleOptions>;
}

/** The argument of `forRootAsync`. */
export type K8sLockModuleAsyncOptions = typeof ASYNC_OPTIONS_TYPE;
