/** The dynamic module: `forRoot` and `forRootAsync`, and what they take. */
import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { K8sLockModuleOptions } from './k8s-lock.options.js';

/** What `forRoot` and `forRootAsync` take beside the options. */
export interface K8sLockModuleExtras {
  /** Offer `LockService` to every module, not only to those that import this one. Default true. */
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
  .setExtras<K8sLockModuleExtras>({ isGlobal: true }, (definition, extras) => ({
    ...definition,
    global: extras.isGlobal !== false,
  }))
  .build();

/** What a class for `forRootAsync({ useClass })` or `({ useExisting })` implements. */
export interface K8sLockOptionsFactory {
  createK8sLockOptions(): K8sLockModuleOptions | Promise<K8sLockModuleOptions>;
}

/** What `forRootAsync` takes. */
export type K8sLockModuleAsyncOptions = typeof ASYNC_OPTIONS_TYPE;
