/** Opens the built package in this process, the way an application does. */
import { KubeConfig } from '@kubernetes/client-node';
import { NestFactory } from '@nestjs/core';
import {
  K8sLockModule,
  LockService,
  type K8sLockModuleOptions,
} from 'nestjs-k8s-lock';

export interface LocksOptions extends Omit<K8sLockModuleOptions, 'kubeConfig'> {
  kubeConfigYaml: string;
}

export async function openLocks({
  kubeConfigYaml,
  ...options
}: LocksOptions): Promise<LockService> {
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromString(kubeConfigYaml);
  const app = await NestFactory.createApplicationContext(
    K8sLockModule.forRoot({ verifyAtStartup: false, ...options, kubeConfig }),
    { logger: false, abortOnError: false },
  );
  return app.get(LockService);
}
