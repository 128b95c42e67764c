/** The dynamic module: `forRoot` and `forRootAsync`, and what they take. */
import { ConfigurableModuleBuilder } from '@nestjs/common';
import {
  BOOLEAN,
  findFaults,
  throwFaults,
  type K8sLockModuleOptions,
} from './k8s-lock.options.js';

/** The token of a value that is there when the module was made by `forRoot` or `forRootAsync`. */
export const IS_CONFIGURED = Symbol('K8S_LOCK_IS_CONFIGURED');

/** What `forRoot` and `forRootAsync` take beside the options. */
export interface K8sLockModuleExtras {
  /**
   * Offer `LockService` to every module, not only to those that import this one. In `forRootAsync()` it
   * stands beside `useFactory`, not in what the factory returns.
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

/** What a class for `forRootAsync({ useClass })` or `({ useExisting })` implements. */
export interface K8sLockOptionsFactory {
  createK8sLockOptions(): K8sLockModuleOptions | Promise<K8sLockModuleOptions>;
}

/** What `forRootAsync` takes. */
export type K8sLockModuleAsyncOptions = typeof ASYNC_OPTIONS_TYPE;
